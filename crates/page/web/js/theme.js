// Runs before the first paint, so that a chosen theme never flashes as the other one.
(() => {
  try {
    const { theme } = JSON.parse(localStorage.getItem('matou.prefs') || '{}');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch { /* storage may be forbidden: the system's theme then */ }
})();
