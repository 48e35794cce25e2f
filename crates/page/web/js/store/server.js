// The history on the server. What is read is copied into the browser, for when the server is away.

import { json, part, post, request, stream } from '../api.js';

const BASE = '/v1/history';
const COPIED_AT_ONCE = 500;
const of = (id) => `${BASE}/${part(id)}`;
const messageOf = (id, message) => `${of(id)}/messages/${part(message)}`;

export class ServerStore {
  kind = 'server';

  constructor(cache) { this.cache = cache; }

  /** Copies without making anybody wait, and without failing. */
  #keep(task) { Promise.resolve().then(task).catch(() => {}); }

  async list({ limit = 50, after, folder, q } = {}) {
    const query = new URLSearchParams({ limit });
    if (after) query.set('after', after);
    if (folder) query.set('folder', folder);
    if (q?.trim()) query.set('q', q.trim());
    const list = await json(`${BASE}?${query}`);
    this.#keep(() => this.cache.put('conversations', ...(list.data ?? []).map(({ snippet: _, ...each }) => each)));
    return list;
  }

  async create(fields) { return this.#conversation(await post(BASE, fields)); }

  async update(id, fields) { return this.#conversation(await post(of(id), fields)); }

  #conversation({ messages: _, ...conversation }) {
    this.#keep(() => this.cache.put('conversations', conversation));
    return conversation;
  }

  async get(id) {
    const whole = await json(of(id));
    this.#keep(async () => {
      const { messages = [], ...conversation } = whole;
      await this.cache.deleteOf(id);
      await this.cache.put('conversations', conversation);
      // In parts: a long conversation copied at once would hold the page up.
      for (let at = 0; at < messages.length; at += COPIED_AT_ONCE) {
        const some = messages.slice(at, at + COPIED_AT_ONCE);
        await this.cache.put('messages', ...some.map((message, index) => ({ ...message, conversation: id, order: at + index })));
      }
    });
    return whole;
  }

  async delete(id) {
    await json(of(id), { method: 'DELETE' });
    this.#keep(() => this.cache.deleteOf(id));
  }

  async deleteAll() {
    await json(BASE, { method: 'DELETE' });
    await this.cache.wipe().catch(() => {});
  }

  async addMessage(id, fields) {
    const message = await post(`${of(id)}/messages`, fields);
    this.keepMessage(id, message);
    return message;
  }

  /** Copies a message that has changed, an answer at its end for example. */
  keepMessage(id, message) {
    this.#keep(async () => {
      const known = await this.cache.get('messages', message.id);
      await this.cache.put('messages', { ...message, conversation: id, order: known?.order ?? Date.now() });
      const conversation = await this.cache.get('conversations', id);
      if (conversation) await this.cache.put('conversations', { ...conversation, leaf: message.id });
    });
  }

  message(id, messageId) { return json(messageOf(id, messageId)); }

  deleteMessage(id, messageId) { return json(messageOf(id, messageId), { method: 'DELETE' }); }

  answer(id, body, signal) { return stream(`${of(id)}/answers`, { method: 'POST', body, signal }); }

  attach(id, messageId, signal) { return stream(`${messageOf(id, messageId)}/stream`, { signal }); }

  stop(id, messageId) { return post(`${messageOf(id, messageId)}/stop`, {}); }

  async export() { return (await request(`${BASE}/export`)).text(); }

  async exportOne(id, format) { return (await request(`${of(id)}/export?format=${part(format)}`)).text(); }

  /** One conversation at a time: all of them may be more than a request can carry. */
  async import(given) {
    const ids = [];
    for (const one of given.conversations ?? [given]) ids.push(...(await post(`${BASE}/import`, one)).ids ?? []);
    return { imported: ids.length, ids };
  }
}
