// The tokens of an answer, each tinted by how likely it was, with the alternatives that the model saw.
//
// One list box with one stop of the Tab key: arrow keys move in it, and what a token says is its label
// only while it is the active one, so that 4,000 tokens stay light.

import { withDefaults } from './labels.js';

const BATCH = 400;
let lists = 0;

/** Shows `content` (OpenAI's logprobs.content) in `element`. Gives {destroy()}. */
export function showTokens(element, content, { labels } = {}) {
  return new Tokens(element, Array.isArray(content) ? content : [], withDefaults(labels));
}

/** A token as it can be seen: line ends, tabs and parts of characters have signs. */
export function visibleToken({ token = '', bytes } = {}) {
  const text = String(token);
  if (text.includes('\uFFFD') && Array.isArray(bytes)) {
    return `⟨${bytes.map((byte) => Number(byte).toString(16).toUpperCase().padStart(2, '0')).join(' ')}⟩`;
  }
  return text === '' ? '⟨⟩' : text;
}

/** The text of a token in a sentence: with signs for what is white. */
export function quotedToken(token) {
  return visibleToken(token).replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣')
    .replace(/[\u0000-\u001F\u007F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF]/g, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

export function probability({ logprob } = {}) {
  const p = Math.exp(Number(logprob));
  return Number.isFinite(p) ? Math.min(1, p) : 0;
}

/** A probability as the reader's language writes it. */
export function percent(p, lang) {
  const digits = p >= 0.9995 ? 0 : p >= 0.1 ? 1 : 2;
  const format = (value) => value.toLocaleString(lang || undefined, { style: 'percent', minimumFractionDigits: digits, maximumFractionDigits: digits });
  return p > 0 && p < 0.0001 ? `<${format(0.0001)}` : format(p);
}

/** Ten steps from likely (0) to unlikely (9); each halving of the probability is about one and a half. */
export function tint(p) {
  return p >= 0.95 ? 0 : Math.min(9, 1 + Math.floor(-Math.log2(Math.max(p, 1e-9)) * 1.3));
}

/** The rows of the popover: the chosen token and its alternatives, most likely first, and what is left. */
export function rows(entry) {
  const all = new Map();
  for (const other of entry.top_logprobs ?? []) all.set(other.token, { token: other, p: probability(other), chosen: false });
  all.set(entry.token, { token: entry, p: probability(entry), chosen: true });
  const list = [...all.values()].sort((a, b) => b.p - a.p);
  return { list, rest: Math.max(0, 1 - list.reduce((total, row) => total + row.p, 0)), alternatives: list.length > 1 };
}

class Tokens {
  #element;
  #document;
  #content;
  #labels;
  #lang;
  #id = `tokens-${++lists}`;
  #spans = [];
  #list;
  #popover;
  #active = -1;
  #shown = -1;
  #gone = false;
  #abort = new AbortController();

  constructor(element, content, labels) {
    this.#element = element;
    this.#document = element.ownerDocument;
    this.#content = content;
    this.#labels = labels;
    this.#lang = element.closest('[lang]')?.lang;
    this.#list = this.#make('div', 'tokens');
    this.#list.setAttribute('role', 'listbox');
    this.#list.setAttribute('tabindex', '0');
    this.#list.setAttribute('aria-label', labels.tokens);
    this.#list.setAttribute('aria-orientation', 'horizontal');
    this.#list.setAttribute('dir', 'auto');
    this.#popover = this.#make('div', 'token-popover');
    this.#popover.setAttribute('popover', 'manual');
    // What it says is in the label of the active token already.
    this.#popover.setAttribute('aria-hidden', 'true');
    element.replaceChildren(this.#list, this.#popover);
    this.#listen();
    this.#fill(0);
  }

  destroy() {
    this.#gone = true;
    this.#abort.abort();
    this.#element.replaceChildren();
  }

  #make(tag, className, text) {
    const made = this.#document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  #fill(from) {
    if (this.#gone) return;
    const part = this.#document.createDocumentFragment();
    const to = Math.min(from + BATCH, this.#content.length);
    for (let i = from; i < to; i++) {
      const entry = this.#content[i] ?? {};
      const span = this.#make('span', `token token-p${tint(probability(entry))}`, visibleToken(entry));
      if (String(entry.token).includes('\n')) span.classList.add('token-newline');
      span.id = `${this.#id}-${i}`;
      span.dataset.i = i;
      span.setAttribute('role', 'option');
      span.setAttribute('aria-selected', 'false');
      this.#label(span, i);
      this.#spans.push(span);
      part.appendChild(span);
    }
    this.#list.appendChild(part);
    if (to < this.#content.length) requestAnimationFrame(() => this.#fill(to));
  }

  #listen() {
    const { signal } = this.#abort;
    const on = (target, type, handler, capture = false) => target.addEventListener(type, handler, { signal, capture });
    const at = (event) => {
      const span = event.target.closest?.('.token');
      return span ? Number(span.dataset.i) : -1;
    };
    on(this.#list, 'pointerover', (event) => {
      if (event.pointerType === 'touch') return;
      const i = at(event);
      if (i >= 0) this.#show(i);
    });
    on(this.#list, 'pointerleave', (event) => {
      if (event.pointerType === 'touch') return;
      if (this.#active >= 0 && this.#document.activeElement === this.#list) this.#show(this.#active);
      else this.#hide();
    });
    on(this.#list, 'click', (event) => {
      const i = at(event);
      if (i < 0) this.#hide();
      else if (i === this.#active && i === this.#shown && event.pointerType === 'touch') this.#hide();
      else this.#activate(i);
    });
    on(this.#list, 'focus', () => {
      if (this.#active < 0 && this.#spans.length && this.#list.matches(':focus-visible')) this.#activate(0);
    });
    on(this.#list, 'blur', () => this.#hide());
    on(this.#list, 'keydown', (event) => this.#key(event));
    on(this.#document, 'scroll', () => {
      if (this.#shown >= 0) this.#place(this.#spans[this.#shown]);
    }, true);
    on(this.#document, 'pointerdown', (event) => {
      if (!this.#element.contains(event.target)) this.#hide();
    });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#spans.length - 1;
    const rtl = this.#list.matches(':dir(rtl)');
    const from = Math.max(0, this.#active);
    const to = {
      ArrowRight: from + (rtl ? -1 : 1), ArrowLeft: from + (rtl ? 1 : -1), ArrowDown: this.#line(from, 1), ArrowUp: this.#line(from, -1),
      Home: 0, End: last, PageDown: from + 50, PageUp: from - 50, Enter: from, ' ': from,
    }[event.key];
    if (event.key === 'Escape' && this.#shown >= 0) {
      this.#hide();
      event.stopPropagation();
    } else if (to !== undefined && last >= 0) this.#activate(Math.max(0, Math.min(last, to)));
    else return;
    event.preventDefault();
  }

  /** The token above or below: the nearest one on the next line of text. */
  #line(from, step) {
    const span = this.#spans[from];
    if (!span) return 0;
    const home = edge(span);
    let best = from;
    let line = null;
    for (let i = from + step; i >= 0 && i < this.#spans.length; i += step) {
      const box = edge(this.#spans[i]);
      if (Math.abs(box.top - home.top) < 4) continue;
      if (line === null) line = box.top;
      else if (Math.abs(box.top - line) >= 4) break;
      if (best === from || Math.abs(box.x - home.x) < Math.abs(edge(this.#spans[best]).x - home.x)) best = i;
    }
    return best;
  }

  #activate(i) {
    const old = this.#spans[this.#active];
    old?.setAttribute('aria-selected', 'false');
    if (old) this.#label(old, this.#active);
    this.#active = i;
    const span = this.#spans[i];
    span.setAttribute('aria-selected', 'true');
    span.setAttribute('aria-label', this.#sentence(this.#content[i] ?? {}));
    this.#list.setAttribute('aria-activedescendant', span.id);
    span.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    this.#show(i);
  }

  /** What is only white has no name but this one. */
  #label(span, i) {
    if (span.textContent.trim()) span.removeAttribute('aria-label');
    else span.setAttribute('aria-label', quotedToken(this.#content[i]));
  }

  /** What a screen reader says for a token. */
  #sentence(entry) {
    const { list, alternatives } = rows(entry);
    const chosen = `${quotedToken(entry)}, ${percent(probability(entry), this.#lang)}`;
    if (!alternatives) return chosen;
    const others = list.filter((row) => !row.chosen).map((row) => `${quotedToken(row.token)} ${percent(row.p, this.#lang)}`);
    return `${chosen}. ${this.#labels.alternatives}: ${others.join(', ')}`;
  }

  #show(i) {
    if (this.#shown === i) return;
    this.#shown = i;
    const { list, rest, alternatives } = rows(this.#content[i] ?? {});
    const lines = list.map((row) => this.#row(quotedToken(row.token), row.p, row.chosen));
    if (!alternatives) lines.push(this.#make('div', 'token-note', this.#labels.none));
    else if (rest >= 0.0005) lines.push(this.#row(this.#labels.other, rest, false, true));
    this.#popover.replaceChildren(...lines);
    if (!this.#popover.matches(':popover-open')) this.#popover.showPopover();
    this.#place(this.#spans[i]);
  }

  #row(text, p, chosen, quiet = false) {
    const row = this.#make('div', `token-row${chosen ? ' token-chosen' : ''}${quiet ? ' token-quiet' : ''}`);
    const bar = this.#make('span', 'token-bar');
    bar.style.inlineSize = `${Math.max(1, p * 100)}%`;
    const name = this.#make('bdi', 'token-text', text);
    row.append(bar, name, this.#make('span', 'token-percent', percent(p, this.#lang)));
    return row;
  }

  #place(span) {
    const box = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.#popover;
    const { innerWidth, innerHeight } = this.#document.defaultView;
    const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    const below = box.bottom + 6;
    const top = below + height > innerHeight - 8 && box.top - height - 6 > 8 ? box.top - height - 6 : below;
    this.#popover.style.left = `${left}px`;
    this.#popover.style.top = `${top}px`;
  }

  #hide() {
    this.#shown = -1;
    if (this.#popover.matches(':popover-open')) this.#popover.hidePopover();
  }
}

function edge(span) {
  const box = span.getClientRects()[0] ?? span.getBoundingClientRect();
  return { top: box.top, x: box.left };
}
