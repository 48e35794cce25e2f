// Answers that are being written. A run outlives the view that began it: one may look at another
// conversation and come back. When the connection drops, the run attaches again; the server has gone on.

import { ApiError, NetworkError } from './api.js';
import { take } from './chunks.js';
import { store } from './store/index.js';
import { contentText } from './tree.js';

const BACKOFF = [300, 800, 2000, 4000, 8000, 8000, 15_000];
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Runs by the id of their message. */
export const runs = new Map();

const newId = () => `msg_${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;

/** Events: `message` (there is one now), `delta` ({content, reasoning}), `state`, `end`. */
export class Run extends EventTarget {
  message = null;
  ended = false;
  /** Why there is no answer at all. */
  error = null;
  reconnecting = false;
  thoughtSince = 0;
  #id = null;
  #abort = new AbortController();
  #skip = { content: 0, reasoning: 0 };
  #heard = false;
  /** What the stream itself said of the end: its event, or that there is a reason. */
  #told = false;
  #stopping = false;
  #heardFirst = false;
  /** Began here, and not only followed: what is measured from `startedAt` holds. */
  #isOwn = false;

  constructor(conversation) {
    super();
    this.conversation = conversation;
    this.startedAt = performance.now();
  }

  #tell(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  /** Asks for an answer. Settles when the run is over, and never rejects. */
  async begin(body) {
    this.#isOwn = true;
    // An id of its own: it can be stopped before there is a message, while its model is loaded.
    if (body.continue) this.#id = body.continue;
    else if (store.kind === 'server') {
      this.#id = newId();
      body = { ...body, id: this.#id };
    }
    if (this.#id && store.kind === 'server') runs.set(this.#id, this);
    try {
      await this.#follow(await store.answer(this.conversation, body, this.#abort.signal));
    } catch (error) {
      if (!this.message) {
        this.error = this.#abort.signal.aborted ? null : error;
        return this.#end();
      }
      await this.#again(error);
    }
    return this.#end();
  }

  /** Follows an answer that was begun elsewhere, or before the page was loaded anew. */
  async join(message) {
    this.message = message;
    runs.set(message.id, this);
    await this.#again(null, true);
    // It may have been stopped from elsewhere: the server knows how it ended.
    if (!this.#abort.signal.aborted) await this.#fetch(1);
    return this.#end();
  }

  /** Follows an answer that has no message yet: its model is being loaded. */
  async attend({ id, parent }) {
    this.#id = id;
    this.parent = parent;
    runs.set(id, this);
    for (let tries = 0; !this.message && !this.error && !this.#abort.signal.aborted; tries += 1) {
      try {
        await this.#follow(await store.attach(this.conversation, id, this.#abort.signal));
      } catch (error) {
        if (this.#abort.signal.aborted) break;
        if (this.message) await this.#again(error);
        else if (error instanceof ApiError && error.status === 404) {
          // It has come to its end meanwhile; or nothing has come of it.
          try { this.#begun(await store.freshMessage(this.conversation, id)); } catch { break; }
          if (this.message.state === 'running') await this.#again(null, true);
        } else if (error instanceof ApiError && error.status < 500 && error.status !== 429) this.error = error;
        else await wait(BACKOFF[Math.min(tries, BACKOFF.length - 1)]);
      }
    }
    return this.#end();
  }

  /** Reads events to their end; throws if the end is missing. */
  async #follow(source) {
    for await (const event of source) {
      if (event.message) this.#begun(event.message);
      else if (event.object === 'history.answer.end') {
        this.#told = true;
        Object.assign(this.message, { state: event.state, ...(event.error && { error: event.error.message ?? event.error }) });
        if (event.timings) this.message.timings = { ...this.message.timings, ...event.timings };
      }
      else if (event.error && !event.choices) {
        if (!this.message) throw new ApiError(0, event.error);
        this.message.state = 'failed';
        this.message.error = event.error.message;
        this.#heard = true;
        this.#tell('state');
      } else if (event.choices || event.usage || event.timings) this.#take(event);
      if (event.done) {
        if (event.state) this.message.state = event.state;
        else if (this.message?.state === 'running') {
          if (this.#told && !this.#stopping) this.message.state = 'done';
          // Why it ended is not in the stream: the server knows.
          else await this.#fetch(4, 300);
        }
        return;
      }
    }
    if (this.#heard && this.message?.state === 'failed') return;
    throw new NetworkError(new Error('the stream ended early'));
  }

  #begun(message) {
    if (this.message) {
      // A stream that is told again from its beginning: what is shown already is not shown twice.
      this.#skip.content = Math.max(0, contentText(this.message.content).length - contentText(message.content).length);
      this.#skip.reasoning = Math.max(0, (this.message.reasoning ?? '').length - (message.reasoning ?? '').length);
      this.message.tool_calls = message.tool_calls;
      return;
    }
    this.message = { ...message };
    if (this.#isOwn) delete this.message.finish_reason;
    runs.set(message.id, this);
    this.#tell('message');
  }

  #take(event) {
    const { content: before, reasoning: thought } = this.message;
    const added = take(this.message, event);
    if (event.choices?.[0]?.finish_reason) this.#told = true;
    if (this.#isOwn && !this.#heardFirst && (added.content || added.reasoning)) {
      this.#heardFirst = true;
      this.message.first_ms = performance.now() - this.startedAt;
    }
    for (const name of ['content', 'reasoning']) {
      if (!this.#skip[name] || !added[name]) continue;
      const known = Math.min(this.#skip[name], added[name].length);
      this.#skip[name] -= known;
      added[name] = added[name].slice(known);
      this.message[name] = (name === 'content' ? before ?? '' : thought ?? '') + added[name];
    }
    if (added.reasoning && !this.thoughtSince) this.thoughtSince = performance.now();
    if (added.content && this.thoughtSince && !this.message.thought_ms) {
      this.message.thought_ms = performance.now() - this.thoughtSince;
    }
    this.#tell('delta', added);
  }

  /** After a drop: attaches again and again, and at last takes the message as the server has it. */
  async #again(error, first = false) {
    if (this.#abort.signal.aborted) { if (this.message.state === 'running') this.message.state = 'stopped'; return; }
    if (store.kind === 'local' && !first) { if (this.message.state === 'running') { this.message.state = 'interrupted'; this.message.error = error?.message; } return; }
    for (let tries = first ? -1 : 0; tries < BACKOFF.length; tries += 1) {
      if (tries >= 0) {
        this.#setReconnecting(true);
        await wait(BACKOFF[tries]);
      }
      if (this.#abort.signal.aborted) { if (this.message.state === 'running') this.message.state = 'stopped'; return; }
      try {
        const source = await store.attach(this.conversation, this.message.id, this.#abort.signal);
        this.#setReconnecting(false);
        await this.#follow(source);
        return;
      } catch (problem) {
        if (this.#abort.signal.aborted) { if (this.message.state === 'running') this.message.state = 'stopped'; return; }
        if (problem instanceof ApiError && problem.status !== 429 && problem.status < 500) break;
      }
    }
    this.#setReconnecting(false);
    await this.#fetch();
  }

  async #fetch(most = 600, ms = 2000) {
    for (let tries = 0; tries < most; tries += 1) {
      try {
        const { logprobs: _, request: __, ...message } = await store.freshMessage(this.conversation, this.message.id);
        Object.assign(this.message, message);
        this.#tell('reset');
        if (message.state !== 'running') return;
      } catch (error) {
        if (error instanceof ApiError) break;
      }
      if (this.#abort.signal.aborted) return;
      if (tries + 1 < most) await wait(ms);
    }
    if (this.message.state === 'running') this.message.state = 'interrupted';
  }

  #setReconnecting(value) {
    if (this.reconnecting === value) return;
    this.reconnecting = value;
    this.#tell('state');
  }

  /** Stops; what was written stays. */
  async stop() {
    if (this.ended || this.#stopping) return;
    this.#stopping = true;
    const id = this.message?.id ?? this.#id;
    try {
      if (id) await store.stop(this.conversation, id);
    } catch (error) {
      // What is not there has ended or has not begun. Anything else: it is still being written.
      if (error?.status !== 404) { this.#stopping = false; throw error; }
    }
    // The stream closes by itself; if it does not, it is closed.
    if (this.message) setTimeout(() => this.#abort.abort(), 1500);
    else this.#abort.abort();
  }

  #end() {
    if (this.ended) return this;
    this.ended = true;
    this.reconnecting = false;
    if (this.#id) runs.delete(this.#id);
    if (this.message) {
      runs.delete(this.message.id);
      if (this.message.state === 'running') this.message.state = 'interrupted';
      store.keepMessage(this.conversation, this.message);
    }
    this.#tell('end');
    return this;
  }
}
