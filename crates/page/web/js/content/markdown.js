// A message of a model on the page: Markdown that may still be coming in. The worker reads it, this
// view keeps what is settled and patches the end, at most once a frame and in small steps.

import { client } from './client.js';
import { Builder } from './build.js';
import { withDefaults } from './labels.js';

const STEP_MS = 5;
const NODES = 5000;
const WINDOW = 64 * 1024;
const SMALL_WINDOW = 8 * 1024;
const BLOCK_LIMIT = 30 * 1024;
const MAX_FAILURES = 3;
const MAX_COLOURED = 100 * 1024;
let views = 0;

export class MarkdownView {
  #element;
  #builder;
  #labels;
  #id = ++views;
  #text = '';
  #source = '';
  #carriage = false;
  /** How far the source is settled, and what has to be read before the rest of it. */
  #at = 0;
  #prefix = '';
  /** The blocks on the page that may still change, and those that were the last to settle. */
  #tail = [];
  #last = [];
  #ended = false;
  #fresh = true;
  /** How much of the source was read, whether as the whole of it, and whether to read on all the same. */
  #seen = 0;
  #seenEnd = false;
  #again = false;
  #running = false;
  #window = WINDOW;
  #failures = 0;
  /** Where the whole rest is shown plain, after too many failures: {at, shown}. */
  #plain = null;
  #noMath = false;
  #nodes = 0;
  #limit = NODES;
  #stopped = false;
  #more = null;
  #preview = null;
  #run = 0;
  #destroyed = false;
  #ready = resolvers();

  constructor(element, { labels } = {}) {
    this.#element = element;
    this.#labels = withDefaults(labels);
    this.#builder = new Builder(element.ownerDocument, this.#labels);
    element.classList.add('md');
    // Starts the worker while the first text is still on its way.
    if (this.#id === 1) client.call('forget', { view: 0 }).catch(() => {});
  }

  get text() {
    return this.#text;
  }

  /** Resolves when all of the text so far is shown, after `set` or `finish`. */
  get ready() {
    return this.#ready.promise;
  }

  /** More text of a stream. */
  append(text) {
    if (this.#destroyed || !text) return;
    if (this.#ended) this.#reopen();
    this.#add(String(text));
    this.#pump();
  }

  /** The whole text. It is shown plain until it has been read. */
  set(text) {
    if (this.#destroyed) return;
    const whole = String(text ?? '');
    if (whole.startsWith(this.#text) && this.#text && !this.#ended) {
      this.#add(whole.slice(this.#text.length));
    } else if (whole !== this.#text || !this.#ended) {
      this.#clear();
      this.#add(whole);
      this.#showPreview();
    }
    this.finish();
  }

  /** The stream is at its end. */
  finish() {
    if (this.#destroyed || this.#ended) return;
    if (this.#carriage) this.#source += '\n';
    this.#carriage = false;
    this.#ended = true;
    this.#pump();
  }

  destroy() {
    this.#destroyed = true;
    this.#clear();
    this.#element.classList.remove('md');
    this.#ready.resolve();
  }

  #add(text) {
    this.#text += text;
    // Line ends are \n from here on; a \r at the end may be half of one.
    let part = (this.#carriage ? '\r' : '') + text;
    this.#carriage = part.endsWith('\r');
    if (this.#carriage) part = part.slice(0, -1);
    this.#source += part.includes('\r') || part.includes('\0') ? part.replace(/\r\n?/g, '\n').replaceAll('\0', '\uFFFD') : part;
  }

  #clear() {
    this.#run++;
    this.#running = false;
    client.call('forget', { view: this.#id }).catch(() => {});
    this.#element.replaceChildren();
    this.#text = this.#source = this.#prefix = '';
    this.#carriage = this.#ended = this.#stopped = this.#seenEnd = this.#again = false;
    this.#at = this.#nodes = this.#failures = this.#seen = 0;
    this.#tail = [];
    this.#last = [];
    this.#fresh = true;
    this.#window = WINDOW;
    this.#limit = NODES;
    this.#plain = this.#more = this.#preview = null;
    this.#renewReady();
  }

  #renewReady() {
    this.#ready.resolve();
    this.#ready = resolvers();
  }

  // Text that comes after the end ("continue") goes on with the blocks that were the last.
  #reopen() {
    this.#ended = false;
    this.#renewReady();
    if (this.#stopped || this.#plain || !this.#last.length) return;
    this.#at = this.#last[0].at;
    this.#tail = this.#last.map((block) => block.shown);
    this.#nodes -= this.#last.reduce((total, block) => total + block.count, 0);
    this.#last = [];
    this.#fresh = true;
    this.#again = true;
  }

  #showPreview() {
    if (!this.#source) return;
    this.#preview = this.#builder.make({ t: 'plain', c: [this.#source.slice(0, BLOCK_LIMIT)] }).el;
    this.#element.appendChild(this.#preview);
  }

  async #pump() {
    if (this.#running || this.#destroyed) return;
    this.#running = true;
    const run = this.#run;
    let cost = 0;
    while (run === this.#run && this.#pending()) {
      if (!this.#ended || cost) await this.#frame(cost);
      if (run !== this.#run) return;
      const started = performance.now();
      await this.#step(run);
      cost = performance.now() - started;
    }
    if (run !== this.#run) return;
    this.#running = false;
    this.#showRest();
    if (this.#ended) this.#ready.resolve();
  }

  #pending() {
    return !this.#stopped && (this.#again || this.#seen !== this.#source.length || this.#seenEnd !== this.#ended);
  }

  // A frame, but later where the last step took long: a long block that is still growing is read less
  // often. Pages in the background have no frames.
  #frame(cost) {
    const { promise, resolve } = resolvers();
    setTimeout(() => {
      const fallback = setTimeout(resolve, 300);
      requestAnimationFrame(() => {
        clearTimeout(fallback);
        resolve();
      });
    }, cost > 16 ? Math.min(cost, 1000) : 0);
    return promise;
  }

  async #step(run) {
    this.#again = false;
    this.#seen = this.#source.length;
    this.#seenEnd = this.#ended;
    if (this.#plain) {
      this.#growPlain();
      return;
    }
    const part = this.#source.slice(this.#at, this.#at + this.#window);
    const partial = this.#at + part.length < this.#source.length;
    try {
      const answer = await this.#lex(this.#prefix + part, partial || !this.#ended);
      if (run !== this.#run) return;
      await this.#apply(answer, run);
      if (run !== this.#run) return;
      this.#fresh = false;
      const settled = this.#settle(answer, !partial && this.#seenEnd);
      this.#again = partial;
      if (partial && !settled && !answer.stop) this.#window *= 2;
    } catch {
      if (run === this.#run) this.#failed(part);
    }
  }

  async #lex(text, streaming) {
    const ask = () => client.call('lex', {
      view: this.#id, text, streaming, fresh: this.#fresh, budget: Math.max(1, this.#limit - this.#nodes), noMath: this.#noMath,
    }, { urgent: true });
    const answer = await ask();
    if (!answer.needMath) return answer;
    await client.load('loadMath').catch(() => { this.#noMath = true; });
    const again = await ask();
    if (again.needMath) throw new Error('formulas cannot be read');
    return again;
  }

  async #apply(answer, run) {
    const steps = this.#changes(answer.blocks);
    for (;;) {
      const until = performance.now() + STEP_MS;
      let step;
      do step = steps.next(); while (!step.done && performance.now() < until);
      if (step.done) return;
      await this.#frame(0);
      if (run !== this.#run) return;
    }
  }

  * #changes(blocks) {
    this.#preview?.remove();
    this.#preview = null;
    const tail = this.#tail;
    for (let i = 0; i < blocks.length; i++) {
      const { node } = blocks[i];
      const old = tail[i];
      // 0 says that nothing changed, null that the block shows nothing.
      const now = node === null ? null : old ? yield* this.#builder.patch(old, node) : yield* this.#builder.build(node);
      if (old !== now) {
        if (old && now) old.el.replaceWith(now.el);
        else if (old) old.el.remove();
        else if (now) this.#insert(now.el, tail.slice(i + 1).find(Boolean)?.el);
        tail[i] = now;
      }
      yield;
    }
    for (const extra of tail.splice(blocks.length)) extra?.el.remove();
  }

  #insert(el, before) {
    this.#element.insertBefore(el, before ?? this.#more?.el ?? null);
  }

  /** Lets go of the blocks that will not change. */
  #settle({ blocks, settled, stop }, whole) {
    const start = this.#at - this.#prefix.length;
    const done = this.#tail.splice(0, settled);
    let at = start;
    for (let i = 0; i < settled; i++) {
      const { length, count } = blocks[i];
      if (done[i]) {
        if (at >= this.#at) this.#last.push({ at, count, shown: done[i] });
        this.#colour(done[i]);
      }
      at += length;
      this.#nodes += count;
    }
    this.#last = whole && !stop ? this.#last.slice(-2) : [];
    if (stop) {
      this.#at = start + stop.at;
      this.#prefix = stop.prefix;
      this.#stopped = true;
    } else if (settled) {
      this.#at = Math.min(at, this.#source.length);
      this.#prefix = '';
    }
    return settled;
  }

  /** The button behind which the rest of a very long message waits. */
  #showRest() {
    const left = this.#stopped ? this.#source.length - this.#at : 0;
    if (!left) {
      this.#more?.el.remove();
      this.#more = null;
      return;
    }
    if (!this.#more) {
      const el = this.#builder.element('button', 'md-more-button md-more-rest');
      el.type = 'button';
      el.addEventListener('click', () => {
        this.#limit = this.#nodes + NODES;
        this.#stopped = false;
        this.#again = this.#fresh = true;
        this.#pump();
      });
      this.#more = { el };
      this.#element.appendChild(el);
    }
    const label = this.#labels.showMore(Math.ceil(left / 1024));
    if (this.#more.el.textContent !== label) this.#more.el.textContent = label;
  }

  // The worker took too long or could not read a part: smaller parts are tried, then the part is shown
  // plain, and in the end all that follows.
  #failed(part) {
    this.#failures++;
    this.#fresh = true;
    this.#again = true;
    this.#preview?.remove();
    this.#preview = null;
    if (this.#failures > MAX_FAILURES) {
      this.#plain = { at: this.#at, shown: this.#makePlain(this.#source.slice(this.#at)) };
    } else if (part.length > SMALL_WINDOW) {
      this.#window = SMALL_WINDOW;
    } else {
      const length = part.lastIndexOf('\n\n') + 2;
      const plain = length > 1 ? part.slice(0, length) : part;
      this.#makePlain(plain);
      this.#at += plain.length;
      this.#prefix = '';
    }
  }

  #makePlain(text) {
    for (const shown of this.#tail.splice(0)) shown?.el.remove();
    const shown = this.#builder.make(plainNode(text));
    shown.el.setAttribute('title', this.#labels.showAsText);
    this.#insert(shown.el);
    return shown;
  }

  #growPlain() {
    const steps = this.#builder.patch(this.#plain.shown, plainNode(this.#source.slice(this.#plain.at)));
    while (!steps.next().done);
  }

  /** Asks for the colours of the code in a settled block. */
  #colour(shown) {
    if (shown.t !== 'code') {
      for (const kid of shown.kids ?? []) if (kid.kids) this.#colour(kid);
      return;
    }
    if (shown.lang) this.#colourCode(shown).catch(() => {});
  }

  async #colourCode(shown) {
    const run = this.#run;
    const text = shown.kids.filter((kid) => kid.t !== 'more').map((kid) => this.#builder.codeText(kid)).join('');
    if (!text || text.length > MAX_COLOURED) return;
    await client.load('loadHighlight');
    const nodes = await client.call('highlight', { lang: shown.lang, text });
    if (!nodes) return;
    const kids = [];
    for (let i = 0; i < nodes.length; i += 300) {
      await this.#frame(0);
      kids.push(...nodes.slice(i, i + 300).map((node) => this.#builder.make(node)));
    }
    // Not under the hands of somebody who is selecting in it.
    while (run === this.#run && this.#selected(shown.host)) await new Promise((resolve) => { setTimeout(resolve, 1000); });
    if (run !== this.#run || !shown.el.isConnected || this.#tail.includes(shown)) return;
    this.#builder.colour(shown, kids);
    this.#nodes += nodes.length;
  }

  #selected(el) {
    const selection = el.ownerDocument.defaultView.getSelection();
    return Boolean(selection && !selection.isCollapsed && selection.containsNode(el, true));
  }
}

function plainNode(text) {
  return { t: 'plain', c: text.length > BLOCK_LIMIT ? [text.slice(0, BLOCK_LIMIT), { t: 'more', c: [text.slice(BLOCK_LIMIT)] }] : [text] };
}

function resolvers() {
  const out = {};
  out.promise = new Promise((resolve, reject) => Object.assign(out, { resolve, reject }));
  return out;
}
