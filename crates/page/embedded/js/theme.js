(()=>{try{let{theme:t}=JSON.parse(localStorage.getItem("matou.prefs")||"{}");(t==="light"||t==="dark")&&(document.documentElement.dataset.theme=t)}catch{}})();
