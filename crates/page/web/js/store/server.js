// The history on the server. What is read is copied into the browser, for when the server is away.

import { json, part, post, request, stream } from '../api.js';
import * as tree from '../tree.js';

const BASE = '/v1/history';
const COPIED_AT_ONCE = 500;
const of = (id) => `${BASE}/${part(id)}`;
const messageOf = (id, message) => `${of(id)}/messages/${part(message)}`;

export class ServerStore {
  kind = 'server';

  constructor(cache) { this.cache = cache; }

  /** Copies without making anybody wait, and without failing. */
  #keep(task) { this.#last = this.#last.then(task).catch(() => {}); }

  // One after the other: a message is copied when its conversation is.
  #last = Promise.resolve();

  async list({ limit = 50, after, folder, q } = {}) {
    const query = new URLSearchParams({ limit });
    if (after) query.set('after', after);
    if (folder) query.set('folder', folder);
    if (q?.trim()) query.set('q', q.trim());
    const asked = Date.now() / 1000 - 5;
    const list = await json(`${BASE}?${query}`);
    this.#keep(async () => {
      await this.cache.put('conversations', ...(list.data ?? []).map(({ snippet: _, ...each }) => each));
      if (!after && !folder && !q?.trim()) await this.#forgetMissing(list, asked);
    });
    return list;
  }

  /** What a list would name and does not has been deleted, perhaps on another device. */
  async #forgetMissing({ data = [], has_more: more }, asked) {
    const there = new Set(data.map((each) => each.id));
    const last = data.at(-1);
    for (const each of await this.cache.all('conversations')) {
      if (there.has(each.id) || each.created_at >= asked) continue;
      if (!more || (!each.pinned && !last.pinned && each.updated_at > last.updated_at)) await this.cache.deleteOf(each.id);
    }
  }

  async create(fields) { return this.#conversation(await post(BASE, fields)); }

  async update(id, fields) { return this.#conversation(await post(of(id), fields)); }

  #conversation({ messages: _, ...conversation }) {
    this.#keep(() => this.cache.put('conversations', conversation));
    return conversation;
  }

  async get(id) {
    const whole = await json(of(id)).catch((error) => {
      if (error?.status === 404) this.#keep(() => this.cache.deleteOf(id));
      throw error;
    });
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
      const conversation = await this.cache.get('conversations', id);
      if (!conversation) return;
      const known = await this.cache.get('messages', message.id);
      await this.cache.put('messages', { ...message, conversation: id, order: known?.order ?? Date.now() });
      await this.cache.put('conversations', { ...conversation, leaf: message.id });
    });
  }

  message(id, messageId) { return json(messageOf(id, messageId)); }

  async deleteMessage(id, messageId) {
    await json(messageOf(id, messageId), { method: 'DELETE' });
    this.#keep(async () => {
      const all = tree.build(await this.cache.of('messages', id));
      await this.cache.delete('messages', ...tree.remove(all, messageId));
    });
  }

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
