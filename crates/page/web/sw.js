// The service worker: keeps the shell of the page, so that it opens while the server is down. It asks
// the network first, for two seconds, and never touches the API.

const CACHE = 'matou-shell-1';
const PATIENCE_MS = 2000;

// Every file that the page is made of: the build writes the list.
const SHELL = ['/', '/manifest.webmanifest', '/favicon.ico'];

// The server answers '/' with a page to whoever wants one, and else with a line of text.
const asked = (path) => new Request(path, { cache: 'no-cache', headers: path === '/' ? { Accept: 'text/html' } : {} });

async function keep(cache, path, response) {
  if (!response.ok || response.type !== 'basic') return;
  if (path === '/' && !response.headers.get('Content-Type')?.startsWith('text/html')) return;
  await cache.put(path, response);
}

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    // One by one: a single missing file is no reason to keep nothing.
    await Promise.allSettled(SHELL.map(async (path) => keep(cache, path, await fetch(asked(path)))));
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith('matou-shell-') && name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  })());
});

// A page that was being opened while the worker became active was not there yet to be claimed.
self.addEventListener('message', (event) => {
  if (event.data === 'claim') event.waitUntil(self.clients.claim());
});

function isShell(request, url) {
  if (request.method !== 'GET' || url.origin !== self.location.origin) return false;
  if (request.mode === 'navigate') return url.pathname === '/';
  return url.pathname.startsWith('/page/') || url.pathname === '/manifest.webmanifest' || url.pathname === '/favicon.ico';
}

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (isShell(event.request, url)) event.respondWith(answer(event, url.pathname));
});

async function answer(event, path) {
  const cache = await caches.open(CACHE);
  const network = fetch(event.request).then(async (response) => {
    await keep(cache, path, response.clone());
    return response;
  });
  // It goes on after the answer, so that the next visit has the newest files.
  event.waitUntil(network.catch(() => {}));
  const late = new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS); });
  const kept = () => cache.match(path);
  try {
    return await Promise.race([network, late.then(async () => await kept() ?? network)]);
  } catch (error) {
    const response = await kept();
    if (response) return response;
    throw error;
  }
}
