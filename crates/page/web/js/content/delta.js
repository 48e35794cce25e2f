// What changed between two trees of a block, so that only that is sent to the page and patched. Pure.
//
// 0: nothing. A string or {t}: take this instead. {a: text}: append to the text.
// {k, n, d}: of the n children the first k stay, the others are d, each one of these.

export function delta(old, now) {
  if (typeof now === 'string') {
    if (old === now) return 0;
    return typeof old === 'string' && now.startsWith(old) ? { a: now.slice(old.length) } : now;
  }
  if (!now || !old || typeof old === 'string' || !sameProperties(old, now)) return now;
  const before = old.c ?? [];
  const after = now.c ?? [];
  const changes = after.map((child, i) => i < before.length ? delta(before[i], child) : child);
  let kept = 0;
  while (kept < changes.length && changes[kept] === 0) kept++;
  if (kept === changes.length && before.length === after.length) return 0;
  return { k: kept, n: after.length, d: changes.slice(kept) };
}

function sameProperties(a, b) {
  for (const name of Object.keys({ ...a, ...b })) {
    if (name !== 'c' && a[name] !== b[name]) return false;
  }
  return true;
}
