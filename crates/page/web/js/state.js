// What the whole page knows, and the events by which its parts hear of changes.

const PREFS = 'matou.prefs';

export const state = {
  session: { needs_key: false, signed_in: true, history: true, persona_editing: false, user: 'everybody' },
  /** What GET /status says; null before it was heard. */
  status: null,
  /** Names of GET /v1/models, for servers that keep their status to themselves. */
  names: [],
  personas: [],
  offline: false,
  prefs: { theme: 'auto', lang: '', enterSends: true, stats: true, sidebar: true, ...read(PREFS, {}) },
};

const bus = new EventTarget();

export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

/** Calls `listener(detail)`; gives the function that ends it. */
export function on(name, listener) {
  const heard = (event) => listener(event.detail);
  bus.addEventListener(name, heard);
  return () => bus.removeEventListener(name, heard);
}

/** JSON of the local storage; `missing` where there is none or storage is forbidden. */
export function read(key, missing) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? missing;
  } catch {
    return missing;
  }
}

export function write(key, value) {
  try {
    if (value === null || value === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch { /* full or forbidden: it holds until the page is closed */ }
}

/** Takes what the server says of the session, and keeps what has to be known while it is away. */
export function takeSession(told) {
  state.session = { ...state.session, ...told, user: told.user ?? 'everybody' };
  const { user, history, needs_key, signed_in } = state.session;
  write('matou.session', signed_in ? { user, history, needs_key } : null);
}

/** The names of what belongs to whoever is signed in: nobody else's page reads them. */
export const owned = (name) => `matou.of.${state.session.user}.${name}`;

export function setPref(name, value) {
  state.prefs[name] = value;
  write(PREFS, state.prefs);
  emit('prefs', name);
}

/** Forgets what the browser keeps of whoever is signed in: drafts, presets, names; not the looks of the page. */
export function forgetUser() {
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(owned(''))) localStorage.removeItem(key);
  } catch { /* storage is forbidden: there is nothing */ }
  write('matou.session', null);
}
