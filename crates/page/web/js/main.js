// The beginning: words, session, the parts of the page, and what the address asks for.

import { json, watch } from './api.js';
import { App } from './app.js';
import { choose, load, t } from './i18n.js';
import { refreshPersonas, refreshStatus } from './models.js';
import { askForKey, signIn, signInError } from './panels/signin.js';
import { Connection } from './connection.js';
import { on, read, state, takeSession } from './state.js';
import { scriptURL } from './trusted.js';

const root = document.documentElement;

function applyTheme() {
  const { theme } = state.prefs;
  if (theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme;
  const dark = theme === 'dark' || (theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.querySelector('meta[name="theme-color"]')?.setAttribute('content', dark ? '#1a1815' : '#faf8f5');
}

/** Reads the session; tries until there is an answer or something to read without one. */
async function readSession(connection) {
  try {
    takeSession(await json('/session', { timeout: 10_000 }));
  } catch (error) {
    // A server without sessions needs no key; one that is away is waited for, with what was read.
    if (error?.name !== 'NetworkError') return;
    Object.assign(state.session, read('matou.session', {}));
    connection.lost();
  }
}

/** `/#login=TOKEN`: the link is good once, so it goes from the address at once. */
async function takeLink() {
  let token = /^#login=(.+)$/.exec(location.hash)?.[1];
  if (!token) return '';
  try { token = decodeURIComponent(token); } catch { /* a link that was cut: no token is like it */ }
  history.replaceState(null, '', '/');
  if (state.session.signed_in && !state.session.needs_key) return '';
  try {
    await signIn({ token });
    return '';
  } catch (error) {
    return error?.status === 401 ? t('signIn.staleLink') : signInError(error);
  }
}

/** Has the service worker keep the page, from this visit on. */
async function keepShell(workers) {
  try {
    await workers.register(scriptURL('/sw.js'));
    const { active } = await workers.ready;
    if (!workers.controller) active.postMessage('claim');
  } catch { /* without one the page opens only while the server is there */ }
}

async function main() {
  applyTheme();
  on('prefs', (name) => { if (name === 'theme') applyTheme(); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', applyTheme);
  const words = load(state.prefs.lang || choose(navigator.languages ?? [navigator.language]));
  const connection = new Connection();
  await Promise.all([words, readSession(connection)]);
  const complaint = state.offline ? '' : await takeLink();
  if (state.session.needs_key && !state.session.signed_in && !state.offline) await askForKey(complaint);
  let app = null;
  watch.signedOut = () => {
    if (!state.session.needs_key) state.session.needs_key = true;
    state.session.signed_in = false;
    const { user } = state.session;
    // The same user goes on where it was; another one's page is another.
    askForKey().then(() => (state.session.user === user ? app?.cameBack(false) : app?.restart()));
  };
  await Promise.all([refreshStatus(), refreshPersonas()]);
  app = new App(connection);
  app.start();
  connection.begin(app);
  // Another page of this browser has signed in or out: what is shown here may be somebody else's.
  addEventListener('storage', ({ key }) => { if (key === 'matou.session' && (read(key, {}).user ?? 'everybody') !== state.session.user) location.reload(); });
  if ('serviceWorker' in navigator) keepShell(navigator.serviceWorker);
}

main();
