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
const lockOf = (message) => `matou.run.${message}`;

export class LocalStore {
  kind = 'local';
  #running = new Map();

  constructor(tables = new Tables('history')) { this.tables = tables; }

  // An answer belongs to the page that asked for it. Others see by a lock that it is still there, and ask it to stop.
  #hold(id) {
    let free;
    const held = new Promise((resolve) => { free = resolve; });
    navigator.locks?.request(lockOf(id), () => held).catch(() => {});
    return free;
  }

  async #held() {
    const { held = [] } = await navigator.locks?.query() ?? {};
    return new Set(held.map(({ name }) => name));
  }

  #others = null;

  #callOthers() {
    if (this.#others || !globalThis.BroadcastChannel) return;
    this.#others = new BroadcastChannel('matou.stop');
    this.#others.onmessage = ({ data }) => this.#running.get(data)?.abort.abort();
  }

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
    const held = this.kind === 'local' && rows.some((row) => row.state === 'running') ? await this.#held() : null;
    const messages = rows.map(({ conversation: _, order: __, ...message }) => {
      // Whoever asked for it is gone, and the answer with it.
      const lost = message.state === 'running' && !this.#running.has(message.id) && !held?.has(lockOf(message.id));
      return lost && held ? { ...message, state: 'interrupted' } : message;
    });
    return { ...conversation, messages };
  }

  async #conversation(id) {
    const conversation = await this.tables.get('conversations', id);
    if (!conversation) throw new Error('not found');
    return conversation;
  }

  async update(id, fields) {
    return this.#change(id, () => ({ ...fields, ...('title' in fields && { updated_at: now() }) }));
  }

  async #change(id, task) {
    const changed = await this.tables.change('conversations', id, (known) => known && { ...known, ...task(known) });
    if (!changed) throw new Error('not found');
    return changed;
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
    await this.#change(id, (known) => ({ leaf: message.id, updated_at: now(), message_count: (known.message_count ?? 0) + 1 }));
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
    await this.#change(id, ({ leaf }) => ({ leaf: gone.includes(leaf) ? tree.leafOf(all, next) : leaf, message_count: all.byId.size }));
  }

  /** The events of an answer, as the server would stream them. */
  async answer(id, { parent, continue: continued, system, ...fields }, signal) {
    const all = tree.build((await this.get(id)).messages);
    const path = tree.pathTo(all, continued ?? parent);
    const body = { ...fields, messages: wireMessages(path, system), stream: true, stream_options: { include_usage: true }, timings: true };
    if (continued) Object.assign(body, { add_generation_prompt: false, continue_final_message: true });
    const abort = new AbortController();
    const asked = performance.now();
    signal?.addEventListener('abort', () => abort.abort());
    this.#callOthers();
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
    return this.#relay(id, { ...message }, source, request, asked);
  }

  async* #relay(id, message, source, request, asked) {
    const free = this.#hold(message.id);
    delete message.first_ms;
    yield { object: 'history.answer', message: { ...message } };
    const logprobs = { content: [] };
    let saved = Date.now();
    let whole = false;
    try {
      for await (const event of source) {
        if (event.done) { whole = true; continue; }
        if (event.error) throw Object.assign(new Error(event.error.message), { told: event });
        const { content, reasoning } = take(message, event);
        if (content || reasoning) message.first_ms ??= performance.now() - asked;
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
      free();
    }
    yield { state: message.state, done: true };
  }

  async stop(id, messageId) {
    const run = this.#running.get(messageId);
    if (run) { run.abort.abort(); return; }
    this.#callOthers();
    this.#others?.postMessage(messageId);
  }

  /** The events of an answer that another page has asked for, as far as that page has kept it. */
  async* attach(id, messageId, signal) {
    let message = await this.message(id, messageId);
    yield { object: 'history.answer', message: { ...message } };
    for (let isHeld = true; isHeld && !signal.aborted;) {
      isHeld = (await this.#held()).has(lockOf(messageId));
      const next = await this.message(id, messageId);
      const added = (name) => String(next[name] ?? '').slice(String(message[name] ?? '').length);
      yield { choices: [{ delta: { content: added('content'), reasoning_content: added('reasoning') } }] };
      message = next;
      if (isHeld) await new Promise((resolve) => { setTimeout(resolve, CHECKPOINT_MS / 2); });
    }
    yield { state: message.state === 'running' ? 'interrupted' : message.state, done: true };
  }

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
