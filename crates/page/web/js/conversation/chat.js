// One conversation: its messages as a tree, and everything that can be done with them. It shows
// nothing; the view listens to its events: `path` (what is shown has changed), `message` (one has),
// `run`, `meta`.

import { Run, runs } from '../runs.js';
import { emit, state } from '../state.js';
import { store } from '../store/index.js';
import { requestFields } from '../fields.js';
import { defaultModel, isPersona, statusOf, watchLoading } from '../models.js';
import * as tree from '../tree.js';

/** Conversations in which something is being written: who comes back finds it as it was left. */
const busy = new Map();

/** What the page itself knows of a message, and no server. */
const OWN = new Set(['first_ms', 'thought_ms']);

export class Chat extends EventTarget {
  tree = tree.build();
  leaf = null;
  /** The runs of this conversation that have not ended, those without a message yet too. */
  active = new Set();
  /** Two answers side by side: { parent, ids: [a, b] }, or null. */
  pair = null;
  /** What went wrong before there was a message: { parent, error }. */
  failure = null;

  #changes = 0;
  /** Whether a later time of change is this page's own doing. */
  #isOwnChange = false;

  constructor(meta = null) {
    super();
    this.meta = meta ?? { id: null, title: '', settings: {}, draft: '' };
  }

  get id() { return this.meta.id; }
  get settings() { return this.meta.settings ?? {}; }
  get model() { return this.settings.model || defaultModel(); }
  get path() { return tree.pathTo(this.tree, this.leaf); }
  get busy() { return this.active.size > 0; }

  tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  static async open(id, messageId) {
    const known = busy.get(id);
    if (known) {
      await known.refresh().catch(() => {});
      if (messageId && known.tree.byId.has(messageId)) { known.pair = null; known.leaf = tree.leafOf(known.tree, messageId); }
      return known;
    }
    const { messages = [], pending = [], ...meta } = await store.get(id);
    const chat = new Chat(meta);
    chat.tree = tree.build(messages);
    chat.leaf = tree.leafOf(chat.tree, messageId && chat.tree.byId.has(messageId) ? messageId : meta.leaf);
    if (meta.leaf && !messageId && chat.tree.byId.has(meta.leaf)) chat.leaf = meta.leaf;
    chat.#joinAll(pending);
    return chat;
  }

  /** Follows whatever is being written. */
  #joinAll(pending) {
    for (const message of this.tree.byId.values()) if (message.state === 'running') this.#join(message);
    for (const begun of pending) {
      const known = runs.get(begun.id);
      if (known) { if (!known.message) this.#watch(known); continue; }
      if (state.offline) continue;
      const run = new Run(this.id);
      run.parent = begun.parent;
      this.#watch(run);
      run.attend(begun);
    }
  }

  /** Reads what others have changed, other pages or devices; what is shown and what is open stays. True if something has. */
  async refresh() {
    if (!this.id || state.offline) return false;
    const changes = this.#changes;
    const { messages = [], pending = [], ...meta } = await store.fresh(this.id);
    // What was done here meanwhile is not in what was read.
    if (changes !== this.#changes) return false;
    const running = new Set([...this.active].flatMap((run) => run.message?.id ?? []));
    const there = new Set(messages.map((message) => message.id));
    let isChanged = false;
    for (const id of [...this.tree.byId.keys()]) {
      if (there.has(id) || running.has(id) || !this.tree.byId.has(id)) continue;
      const next = tree.afterRemoval(this.tree, id);
      const gone = tree.remove(this.tree, id);
      if (gone.includes(this.leaf)) this.leaf = next === null ? null : tree.leafOf(this.tree, next);
      if (this.pair?.ids.some((each) => gone.includes(each))) this.pair = null;
      isChanged = true;
    }
    for (const message of messages) {
      if (running.has(message.id)) continue;
      const known = this.tree.byId.get(message.id);
      if (known && JSON.stringify([known.content, known.state]) === JSON.stringify([message.content, message.state])) continue;
      isChanged = true;
      if (known) for (const name of Object.keys(known)) if (!(name in message) && !OWN.has(name)) delete known[name];
      tree.put(this.tree, message);
      if (known) this.tell('message', known);
    }
    if (!this.leaf) this.leaf = meta.leaf;
    // Where the conversation has gone on below what is shown, one goes along.
    else if (meta.leaf !== this.leaf && tree.pathTo(this.tree, meta.leaf).some((each) => each.id === this.leaf)) {
      // Two that are begun here may be known there before they are here.
      const isOfPair = this.pair && (this.busy || this.tree.byId.get(meta.leaf)?.parent === this.pair.parent);
      if (!isOfPair) { this.pair = null; this.leaf = meta.leaf; }
    }
    const { settings } = this.meta;
    this.meta = { ...meta, settings: meta.settings ?? settings };
    this.#joinAll(pending);
    this.tell('meta');
    if (isChanged) this.tell('path');
    return isChanged;
  }

  /** The same, after asking in few bytes whether it is worth it. */
  async check() {
    if (!this.id || state.offline || this.busy) return false;
    const entry = (await store.list({ limit: 50 })).data?.find((each) => each.id === this.id);
    const isKnown = entry && (!entry.leaf || this.tree.byId.has(entry.leaf)) && entry.message_count === this.tree.byId.size;
    if (isKnown && (entry.updated_at <= this.meta.updated_at || this.#isOwnChange)) {
      this.meta.updated_at = entry.updated_at;
      this.#isOwnChange = false;
      return false;
    }
    return this.refresh();
  }

  /** Before anything is begun: two answers side by side become one path, the one chosen or the first. */
  #settle(id) {
    this.#changes += 1;
    this.#isOwnChange = true;
    if (!this.pair) return;
    const { ids, chosen } = this.pair;
    this.pair = null;
    this.leaf = tree.leafOf(this.tree, id ?? (ids.includes(chosen) ? chosen : ids[0]));
    if (!id) this.tell('kept', this.tree.byId.get(this.leaf));
    this.tell('path');
  }

  #join(message) {
    const known = runs.get(message.id);
    if (known) {
      if (known.message) this.tree.byId.set(message.id, known.message);
      this.#watch(known);
      return;
    }
    if (state.offline) return;
    const run = new Run(this.id);
    this.#watch(run);
    run.join(message);
  }

  /** Makes the conversation on the server when it gets its first message. */
  async #ensure(title) {
    if (this.id) return;
    const settings = { ...this.settings, model: this.model };
    this.meta = await store.create({ title, settings });
    emit('created', this.meta);
    this.tell('meta');
  }

  async setSettings(settings) {
    this.meta.settings = settings;
    this.tell('meta');
    if (this.id) await store.update(this.id, { settings });
  }

  async rename(title) {
    this.meta.title = title;
    this.tell('meta');
    if (this.id) {
      await store.update(this.id, { title });
      emit('changed', this.meta);
    }
  }

  async #addMessage(fields) {
    const message = await store.addMessage(this.id, fields);
    this.#changes += 1;
    this.#isOwnChange = true;
    tree.put(this.tree, message);
    this.leaf = message.id;
    this.meta.updated_at = message.created_at ?? this.meta.updated_at;
    this.tell('path');
    emit('touched', this.meta);
    return message;
  }

  /** Asks something; `other` is what a second answer beside the first is asked with. */
  async send(text, other) {
    this.#settle();
    await this.#ensure(tree.titleOf(text));
    if (!this.meta.title) this.rename(tree.titleOf(text)).catch(() => {});
    const parent = tree.pathTo(this.tree, this.leaf).at(-1)?.id ?? null;
    const message = await this.#addMessage({ parent, role: 'user', content: text });
    if (other) this.answerTwice(message.id, other);
    else this.answer(message.id);
  }

  /** The first message of a persona. */
  async greet(text, title) {
    await this.#ensure(title);
    await this.#addMessage({ parent: null, role: 'assistant', content: text, model: this.model });
  }

  answer(parent, over = {}) { return this.#run({ parent, ...this.#fields(over.model ?? this.model), ...over }); }

  #fields(model) { return { ...requestFields(this.settings, isPersona(model)), model }; }

  continueAnswer(message) {
    this.#settle(message.id);
    return this.#run({ continue: message.id, ...this.#fields(message.model || this.model) });
  }

  regenerate(message) {
    this.#settle(message.id);
    const fields = {};
    // The same seed would give the same answer again.
    if (this.settings.seed !== undefined) fields.seed = Math.floor(Math.random() * 2 ** 31);
    return this.answer(message.parent, fields);
  }

  /** Two answers to the same question, beside each other. */
  answerTwice(parent, other, first) {
    this.pair = { parent, ids: first ? [first] : [], expected: 2, labels: [] };
    const seed = () => Math.floor(Math.random() * 2 ** 31);
    const sameModel = !other.model || other.model === this.model;
    if (!first) this.answer(parent, sameModel ? { seed: this.settings.seed ?? seed() } : {});
    this.answer(parent, { ...(other.model && { model: other.model }), ...(sameModel && { seed: other.seed ?? seed() }) });
    this.tell('path');
  }

  /** Keeps one of two; the other is deleted, or stays as a branch. */
  async keep(id, deleteOther) {
    this.#changes += 1;
    const others = this.pair?.ids.filter((each) => each !== id) ?? [];
    this.pair = null;
    this.leaf = tree.leafOf(this.tree, id);
    for (const run of this.active) if (others.includes(run.message?.id)) await run.stop();
    if (deleteOther) {
      for (const each of others) {
        await store.deleteMessage(this.id, each);
        tree.remove(this.tree, each);
      }
    }
    this.tell('path');
    await store.update(this.id, { leaf: this.leaf });
  }

  #run(body) {
    this.failure = null;
    this.#changes += 1;
    this.#isOwnChange = true;
    const run = new Run(this.id);
    run.parent = body.parent;
    run.model = body.model;
    this.#watch(run);
    if (statusOf(body.model).value !== 'loaded') watchLoading(8000);
    run.begin(body);
    return run;
  }

  #watch(run) {
    if (this.active.has(run)) return;
    this.active.add(run);
    busy.set(this.id, this);
    run.addEventListener('message', () => {
      this.#changes += 1;
      const known = this.tree.byId.get(run.message.id);
      run.message = known ? Object.assign(known, run.message) : tree.put(this.tree, run.message);
      if (this.pair && run.message.parent === this.pair.parent) {
        if (!this.pair.ids.includes(run.message.id)) this.pair.ids.push(run.message.id);
        this.leaf = this.pair.ids[0];
      } else if (!this.path.some((each) => each.id === run.message.id)) this.leaf = run.message.id;
      this.tell('path');
    });
    run.addEventListener('delta', (event) => this.tell('delta', { run, ...event.detail }));
    run.addEventListener('reset', () => this.tell('message', run.message));
    run.addEventListener('state', () => this.tell('message', run.message));
    run.addEventListener('end', () => {
      this.active.delete(run);
      this.#changes += 1;
      this.#isOwnChange = true;
      if (!this.busy) busy.delete(this.id);
      if (run.error) {
        this.failure = { parent: run.parent, error: run.error };
        if (this.pair && this.pair.ids.length < 2) this.pair = null;
        this.tell('path');
      }
      if (run.message) this.tell('message', run.message);
      this.tell('run', run);
      emit('touched', this.meta);
    });
    this.tell('run', run);
  }

  async stop() { await Promise.all([...this.active].map((run) => run.stop())); }

  /** A new sibling with another text; the user's own is answered. */
  async edit(message, text) {
    this.#settle(message.id);
    const fields = { parent: message.parent ?? null, role: message.role, content: text };
    if (message.role === 'assistant') fields.model = message.model;
    const made = await this.#addMessage(fields);
    if (message.role === 'user') this.answer(made.id);
  }

  /** Deletes a message and all below it. */
  async remove(message) {
    for (const run of this.active) if (run.message?.id === message.id) await run.stop();
    await store.deleteMessage(this.id, message.id);
    this.#changes += 1;
    this.#isOwnChange = true;
    const next = tree.afterRemoval(this.tree, message.id);
    const gone = tree.remove(this.tree, message.id);
    if (gone.includes(this.leaf)) this.leaf = next === null ? null : tree.leafOf(this.tree, next);
    if (this.pair?.ids.includes(message.id)) this.pair = null;
    this.failure = null;
    this.tell('path');
    if (this.leaf) await store.update(this.id, { leaf: this.leaf }).catch(() => {});
  }

  siblings(message) { return tree.siblings(this.tree, message.id); }

  /** Goes to another branch: the newest that goes through `id`. */
  async switchTo(id) {
    this.leaf = tree.leafOf(this.tree, id);
    this.pair = null;
    this.failure = null;
    this.tell('path');
    if (!state.offline) await store.update(this.id, { leaf: this.leaf }).catch(() => {});
  }

  /** What the newest answer said it takes of the model's context, in tokens. */
  get used() {
    for (const message of this.path.reverse()) {
      if (message.usage) return (message.usage.prompt_tokens ?? 0) + (message.usage.completion_tokens ?? 0);
    }
    return 0;
  }
}
