// The one history that the rest of the page sees: the server's or the browser's, and while the server
// is away, the copy of what was read.

import { NetworkError } from '../api.js';
import { state } from '../state.js';
import { Tables } from './idb.js';
import { LocalStore } from './local.js';
import { ServerStore } from './server.js';

const cache = new Tables('copy');
const copy = new LocalStore(cache);
copy.kind = 'copy';
const local = new LocalStore();
const server = new ServerStore(cache);

const current = () => (state.session.history ? server : local);

/** Reads from the server, and from the copy where the server is away. */
async function reading(name, args) {
  const store = current();
  if (store === server && state.offline) return copy[name](...args);
  try {
    return await store[name](...args);
  } catch (error) {
    if (store === server && error instanceof NetworkError) return copy[name](...args);
    throw error;
  }
}

export const store = {
  get kind() { return current().kind; },
  list: (...args) => reading('list', args),
  get: (...args) => reading('get', args),
  /** As the history has it now; never the copy. */
  fresh: (...args) => current().get(...args),
  message: (...args) => reading('message', args),
  freshMessage: (...args) => current().message(...args),
  create: (...args) => current().create(...args),
  update: (...args) => current().update(...args),
  delete: (...args) => current().delete(...args),
  deleteAll: () => current().deleteAll(),
  addMessage: (...args) => current().addMessage(...args),
  deleteMessage: (...args) => current().deleteMessage(...args),
  keepMessage: (...args) => current().keepMessage?.(...args),
  answer: (...args) => current().answer(...args),
  attach: (...args) => current().attach(...args),
  stop: (...args) => current().stop(...args),
  export: () => current().export(),
  exportOne: (...args) => current().exportOne(...args),
  import: (given) => current().import(given),
  /** Takes everything out of this browser that belongs to whoever was signed in. */
  async forget() {
    await cache.wipe().catch(() => {});
    await local.deleteAll().catch(() => {});
  },
};
