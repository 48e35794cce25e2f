// Conversations in IndexedDB: the history itself where the server keeps none, and else a copy of what
// was read, for when the server cannot be reached. Where the browser forbids it, memory does.

import { owned } from '../state.js';

const TABLES = ['conversations', 'messages', 'details'];

function open(name) {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(name, 1);
    asked.onupgradeneeded = () => {
      const db = asked.result;
      db.createObjectStore('conversations', { keyPath: 'id' });
      db.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation');
      db.createObjectStore('details', { keyPath: 'id' }).createIndex('conversation', 'conversation');
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(new Error('blocked'));
  });
}

const done = (asked) => new Promise((resolve, reject) => {
  asked.onsuccess = () => resolve(asked.result);
  asked.onerror = () => reject(asked.error);
});

export class Tables {
  #db = null;
  #memory = null;

  constructor(name) { this.name = name; }

  async #store(table, mode = 'readonly') {
    if (this.#memory) return null;
    try {
      this.#db ??= open(owned(this.name));
      return (await this.#db).transaction(table, mode).objectStore(table);
    } catch {
      this.#memory = Object.fromEntries(TABLES.map((each) => [each, new Map()]));
      return null;
    }
  }

  async all(table) {
    const store = await this.#store(table);
    return store ? done(store.getAll()) : [...this.#memory[table].values()];
  }

  async get(table, id) {
    const store = await this.#store(table);
    return store ? done(store.get(id)) : this.#memory[table].get(id);
  }

  /** The rows of a conversation, in the order in which they were made. */
  async of(table, conversation) {
    const store = await this.#store(table);
    const rows = store
      ? await done(store.index('conversation').getAll(conversation))
      : [...this.#memory[table].values()].filter((row) => row.conversation === conversation);
    return rows.sort((a, b) => (a.order ?? 0) - (b.order ?? 0));
  }

  async put(table, ...rows) {
    const store = await this.#store(table, 'readwrite');
    if (!store) { for (const row of rows) this.#memory[table].set(row.id, structuredClone(row)); return; }
    for (const row of rows) store.put(row);
    await finished(store.transaction);
  }

  /** Reads a row, and writes what `task` makes of it, with nothing in between. */
  async change(table, id, task) {
    const store = await this.#store(table, 'readwrite');
    if (!store) {
      const row = task(this.#memory[table].get(id));
      if (row) this.#memory[table].set(id, structuredClone(row));
      return row;
    }
    const row = task(await done(store.get(id)));
    if (row) store.put(row);
    await finished(store.transaction);
    return row;
  }

  async delete(table, ...ids) {
    const store = await this.#store(table, 'readwrite');
    if (!store) { for (const id of ids) this.#memory[table].delete(id); return; }
    for (const id of ids) store.delete(id);
    await finished(store.transaction);
  }

  async deleteOf(conversation) {
    for (const table of ['messages', 'details']) {
      const store = await this.#store(table);
      const ids = store ? await done(store.index('conversation').getAllKeys(conversation)) : (await this.of(table, conversation)).map((row) => row.id);
      if (ids.length) await this.delete(table, ...ids);
    }
    await this.delete('conversations', conversation);
  }

  async wipe() {
    for (const table of TABLES) {
      const store = await this.#store(table, 'readwrite');
      if (!store) this.#memory[table].clear();
      else { store.clear(); await finished(store.transaction); }
    }
  }
}

const finished = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onerror = () => reject(transaction.error);
  transaction.onabort = () => reject(transaction.error ?? new Error('aborted'));
});
