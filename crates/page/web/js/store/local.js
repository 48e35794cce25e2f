// The history in this browser (IndexedDB), with answers asked for by the page itself. Also reads the
// copy that is kept of the server's history.

import { stream } from '../api.js';
import { take } from '../chunks.js';
import { wireMessages } from '../fields.js';
import * as tree from '../tree.js';
import { find } from './find.js';
import { Tables } from './idb.js';
import { toMarkdown } from './markdown-export.js';

const now = () => Math.floor(Date.now() / 1000);
const newId = (prefix) => `${prefix}_${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
const CHECKPOINT_MS = 1000;

export class LocalStore {
  kind = 'local';
  #running = new Map();

  constructor(tables = new Tables('history')) { this.tables = tables; }

  async list({ limit = 50, after, folder, q } = {}) {
    const all = await this.tables.all('conversations');
    const folders = [...new Set(all.map((each) => each.folder).filter(Boolean))].sort();
    let data = all.filter((each) => !folder || each.folder === folder)
      .sort((a, b) => Number(b.pinned ?? false) - Number(a.pinned ?? false) || b.updated_at - a.updated_at || (a.id < b.id ? 1 : -1));
    if (q?.trim()) data = await this.#search(data, q);
    const start = after ? data.findIndex((each) => each.id === after) + 1 : 0;
    const page = data.slice(start, start + limit);
    return { data: page, has_more: start + limit < data.length, last_id: page.at(-1)?.id ?? null, folders };
  }

  async #search(conversations, query) {
    const found = [];
    for (const each of conversations) {
      const snippet = find(each, await this.tables.of('messages', each.id), query);
      if (snippet) found.push({ ...each, snippet });
    }
    return found;
  }

  async create(fields = {}) {
    const time = now();
    const conversation = {
      id: newId('conv'), object: 'history.conversation', title: '', created_at: time, updated_at: time, pinned: false,
      folder: null, settings: {}, draft: '', leaf: null, message_count: 0, ...fields,
    };
    await this.tables.put('conversations', conversation);
    return conversation;
  }

  async get(id) {
    const conversation = await this.#conversation(id);
    const rows = await this.tables.of('messages', id);
    const messages = rows.map(({ conversation: _, order: __, ...message }) => {
      // Whoever asked for it is gone, and the answer with it.
      const lost = message.state === 'running' && !this.#running.has(message.id);
      return lost && this.kind === 'local' ? { ...message, state: 'interrupted' } : message;
    });
    return { ...conversation, messages };
  }

  async #conversation(id) {
    const conversation = await this.tables.get('conversations', id);
    if (!conversation) throw new Error('not found');
    return conversation;
  }

  async update(id, fields) {
    const conversation = { ...await this.#conversation(id), ...fields };
    if ('title' in fields) conversation.updated_at = now();
    await this.tables.put('conversations', conversation);
    return conversation;
  }

  async delete(id) {
    for (const [message, run] of this.#running) if (run.conversation === id) await this.stop(id, message);
    await this.tables.deleteOf(id);
  }

  async deleteAll() {
    for (const run of this.#running.values()) run.abort.abort();
    await this.tables.wipe();
  }

  async addMessage(id, fields) {
    const message = { id: newId('msg'), parent: null, content: '', created_at: now(), state: 'done', has_logprobs: false, ...fields };
    await this.#save(id, message);
    const conversation = await this.#conversation(id);
    const count = (conversation.message_count ?? 0) + 1;
    await this.tables.put('conversations', { ...conversation, leaf: message.id, updated_at: now(), message_count: count });
    return message;
  }

  async #save(conversation, message) {
    const known = await this.tables.get('messages', message.id);
    await this.tables.put('messages', { ...message, conversation, order: known?.order ?? Date.now() * 1000 + (this.#order = (this.#order + 1) % 1000) });
  }

  #order = 0;

  async message(id, messageId) {
    const { conversation: _, order: __, ...message } = (await this.tables.get('messages', messageId)) ?? {};
    if (!message.id) throw new Error('not found');
    const detail = await this.tables.get('details', messageId);
    return { ...message, ...(detail && { logprobs: detail.logprobs, request: detail.request }) };
  }

  async deleteMessage(id, messageId) {
    const all = tree.build(await this.tables.of('messages', id));
    const next = tree.afterRemoval(all, messageId);
    const gone = tree.remove(all, messageId);
    for (const each of gone) this.#running.get(each)?.abort.abort();
    await this.tables.delete('messages', ...gone);
    await this.tables.delete('details', ...gone);
    const conversation = await this.#conversation(id);
    const leaf = gone.includes(conversation.leaf) ? tree.leafOf(all, next) : conversation.leaf;
    await this.tables.put('conversations', { ...conversation, leaf, message_count: all.byId.size });
  }

  /** The events of an answer, as the server would stream them. */
  async answer(id, { parent, continue: continued, system, ...fields }) {
    const all = tree.build((await this.get(id)).messages);
    const path = tree.pathTo(all, continued ?? parent);
    const body = { ...fields, messages: wireMessages(path, system), stream: true, stream_options: { include_usage: true }, timings: true };
    if (continued) Object.assign(body, { add_generation_prompt: false, continue_final_message: true });
    const abort = new AbortController();
    const source = await stream('/v1/chat/completions', { method: 'POST', body, signal: abort.signal });
    let message;
    if (continued) {
      message = { ...all.byId.get(continued), state: 'running', finish_reason: undefined };
      await this.#save(id, message);
    } else {
      const { model, ...settings } = fields;
      message = await this.addMessage(id, { parent, role: 'assistant', model, settings, state: 'running' });
    }
    this.#running.set(message.id, { abort, conversation: id });
    const request = { ...body, stream: undefined };
    return this.#relay(id, { ...message }, source, request);
  }

  async* #relay(id, message, source, request) {
    yield { object: 'history.answer', message: { ...message } };
    const logprobs = { content: [] };
    let saved = Date.now();
    let whole = false;
    try {
      for await (const event of source) {
        if (event.done) { whole = true; continue; }
        if (event.error) throw Object.assign(new Error(event.error.message), { told: event });
        take(message, event);
        logprobs.content.push(...(event.choices?.[0]?.logprobs?.content ?? []));
        yield event;
        if (Date.now() - saved > CHECKPOINT_MS) { saved = Date.now(); await this.#save(id, message); }
      }
      message.state = whole ? 'done' : 'interrupted';
    } catch (error) {
      const stopped = this.#running.get(message.id)?.abort.signal.aborted;
      message.state = stopped ? 'stopped' : error.told ? 'failed' : 'interrupted';
      if (!stopped) message.error = error.message;
      if (error.told) yield error.told;
    } finally {
      // An iterator that is left early was stopped by the reader.
      if (message.state === 'running') message.state = 'stopped';
      this.#running.delete(message.id);
      if (await this.tables.get('messages', message.id)) {
        await this.#save(id, message);
        await this.tables.put('details', { id: message.id, conversation: id, request, logprobs: logprobs.content.length ? logprobs : undefined });
      }
    }
    yield { state: message.state, done: true };
  }

  async stop(id, messageId) { this.#running.get(messageId)?.abort.abort(); }

  attach() { return Promise.reject(new Error('not running')); }

  async export() {
    const all = await this.tables.all('conversations');
    const conversations = await Promise.all(all.map((each) => this.get(each.id)));
    return JSON.stringify({ object: 'history.export', version: 1, conversations }, null, 1);
  }

  async exportOne(id, format) {
    const whole = await this.get(id);
    return format === 'markdown' ? toMarkdown(whole) : JSON.stringify(whole, null, 1);
  }

  async import(given) {
    const list = given?.conversations ?? [given];
    const ids = [];
    for (const each of list) {
      if (!Array.isArray(each?.messages)) throw new Error('no conversation');
      const { messages, id: _, snippet: __, ...fields } = each;
      const made = await this.create({ ...fields, leaf: null, message_count: messages.length });
      const names = new Map(messages.map((message) => [message.id, newId('msg')]));
      const rows = messages.map((message, order) => ({
        ...message, id: names.get(message.id), parent: names.get(message.parent) ?? null,
        state: message.state === 'running' ? 'interrupted' : message.state ?? 'done', conversation: made.id, order,
      }));
      await this.tables.put('messages', ...rows);
      await this.update(made.id, { leaf: names.get(each.leaf) ?? rows.at(-1)?.id ?? null, updated_at: each.updated_at ?? made.updated_at });
      ids.push(made.id);
    }
    return { imported: ids.length, ids };
  }
}
