// Builds and patches the elements of a message from the worker's tree. Every character that a model
// wrote gets in as text: there is no way from here to HTML, and links are judged once more.

import { hasLongLine, safeAddress, safePicture, splitBidi } from './links.js';
import { copyText } from './copy.js';

const MATHML = ['http:', '', 'www.w3.org', '1998', 'Math', 'MathML'].join('/');
const STEP = 30 * 1024;
/** So many children are made without a pause. */
const MANY = 50;
const TAGS = { p: 'p', quote: 'blockquote', ul: 'ul', ol: 'ol', li: 'li', hr: 'hr', br: 'br', strong: 'strong', em: 'em', del: 'del', cs: 'code', tr: 'tr', th: 'th', td: 'td', h3: 'h3', h4: 'h4', h5: 'h5', h6: 'h6', nolink: 'span', tok: 'span', bidi: 'span', plain: 'div', a: 'a' };
/** What may hold much: built with a pause between its children. */
let tables = 0;
const CONTAINERS = new Set(['ul', 'ol', 'li', 'quote', 'table', 'tr']);
const AUTO_DIRECTION = new Set(['p', 'quote', 'ul', 'ol', 'li', 'th', 'td', 'h3', 'h4', 'h5', 'h6', 'plain']);
const NAMES = { js: 'JavaScript', javascript: 'JavaScript', ts: 'TypeScript', typescript: 'TypeScript', py: 'Python', python: 'Python', json: 'JSON', html: 'HTML', xml: 'XML', css: 'CSS', sql: 'SQL', cpp: 'C++', 'c++': 'C++', c: 'C', cs: 'C#', csharp: 'C#', rs: 'Rust', go: 'Go', php: 'PHP', rb: 'Ruby', sh: 'Shell', bash: 'Bash', yaml: 'YAML', yml: 'YAML', toml: 'TOML', ini: 'INI', jsx: 'JSX', tsx: 'TSX', md: 'Markdown', latex: 'LaTeX', tex: 'TeX', graphql: 'GraphQL', r: 'R' };

export function languageName(lang) {
  if (Object.hasOwn(NAMES, lang)) return NAMES[lang];
  return lang.charAt(0).toUpperCase() + lang.slice(1);
}

// What stands for a node on the page: {t, el, host, kids} or, for text, {text, el}. `host` is the
// element that the children are in.
export class Builder {
  constructor(document, labels) {
    this.document = document;
    this.labels = labels;
  }

  element(tag, className = '', text = '') {
    const element = this.document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  }

  /** Makes a node at once. */
  make(node) {
    const steps = this.build(node);
    let step = steps.next();
    while (!step.done) step = steps.next();
    return step.value;
  }

  /** Makes a node; pauses (yields) between parts that may be many. */
  * build(node) {
    if (typeof node === 'string') return { text: node, el: this.document.createTextNode(node) };
    const shown = this.shell(node);
    this.properties(shown, node);
    if (shown.t === 'more') {
      shown.rest = node.c[0];
      this.updateMore(shown);
      return shown;
    }
    for (const child of node.c ?? []) {
      const large = child.c && (CONTAINERS.has(child.t) || child.c.length > MANY);
      this.attach(shown, large ? yield* this.build(child) : this.make(child));
      if (large || shown.kids.length % MANY === 0) yield;
    }
    return shown;
  }

  attach(shown, kid) {
    const host = shown.t === 'table' ? (shown.kids.length ? shown.body : shown.head) : shown.host;
    shown.kids.push(kid);
    host.appendChild(kid.el);
  }

  shell(node) {
    const { t } = node;
    const shown = { t, kids: [] };
    const special = { code: () => this.codeShell(shown), table: () => this.tableShell(shown), more: () => this.moreShell(shown), m: () => this.mathElement(shown, node), math: () => this.formulaShell(shown, node), img: () => this.pictureShell(shown, node) }[t];
    if (special) special();
    else {
      shown.el = this.element(TAGS[t] ?? 'span');
      shown.host = shown.el;
    }
    if (AUTO_DIRECTION.has(t)) shown.el.setAttribute('dir', 'auto');
    return shown;
  }

  // What may change while a node stays the same node.
  properties(shown, node) {
    const { el } = shown;
    if (AUTO_DIRECTION.has(node.t)) el.toggleAttribute('data-long', Boolean(node.long));
    switch (node.t) {
      case 'h3': case 'h4': case 'h5': case 'h6':
        el.className = `md-h${node.l}`;
        break;
      case 'ol':
        if (node.start !== 1) el.setAttribute('start', String(node.start));
        break;
      case 'li':
        this.task(shown, node.task);
        break;
      case 'th':
        el.setAttribute('scope', 'col');
        // falls through
      case 'td':
        el.className = node.a ? `md-${node.a}` : '';
        break;
      case 'code':
        this.language(shown, node.lang);
        break;
      case 'a':
        this.link(shown, node);
        break;
      case 'bidi':
        el.className = 'md-bidi';
        el.setAttribute('role', 'img');
        el.setAttribute('aria-label', `${this.labels.control} U+${node.cp}`);
        el.setAttribute('title', `${this.labels.control} U+${node.cp}`);
        el.setAttribute('data-cp', node.cp);
        shown.cp = node.cp;
        break;
      case 'tok':
        el.className = `tok-${node.k}`;
        break;
      case 'nolink':
        el.className = 'md-nolink';
        break;
      case 'plain':
        el.className = 'md-plain';
        el.toggleAttribute('data-long', node.c.some((part) => typeof part === 'string' && hasLongLine(part)));
        break;
      case 'cs':
        el.className = 'md-cs';
        break;
    }
  }

  task(shown, task) {
    if (task === undefined) {
      shown.box?.remove();
      shown.box = undefined;
      shown.el.className = '';
      return;
    }
    if (!shown.box) {
      shown.box = this.element('input');
      shown.box.type = 'checkbox';
      shown.box.disabled = true;
      shown.el.className = 'md-task';
      shown.el.insertBefore(shown.box, shown.el.firstChild);
    }
    shown.box.checked = task;
    shown.box.setAttribute('aria-label', task ? this.labels.done : this.labels.open);
  }

  link(shown, node) {
    const { el } = shown;
    const href = safeAddress(node.href);
    if (!href) return;
    el.href = href;
    el.target = '_blank';
    el.rel = 'noopener noreferrer nofollow';
    el.referrerPolicy = 'no-referrer';
    el.title = href;
    el.className = `md-link${node.image ? ' md-image' : ''}${node.real ? ' md-real' : ''}`;
    // The real target stands behind a text that reads as another one: in the style sheet, from this.
    if (node.real) el.setAttribute('data-target', href.length > 120 ? `${href.slice(0, 119)}…` : href);
    else el.removeAttribute('data-target');
  }

  codeShell(shown) {
    const box = this.element('div', 'md-code');
    const header = this.element('div', 'md-code-header');
    const name = this.element('span', 'md-code-name');
    const button = this.element('button', 'md-copy', this.labels.copy);
    const pre = this.element('pre');
    const code = this.element('code');
    box.setAttribute('role', 'group');
    box.setAttribute('dir', 'ltr');
    button.type = 'button';
    button.setAttribute('aria-live', 'polite');
    pre.setAttribute('tabindex', '0');
    pre.appendChild(code);
    header.append(name, button);
    box.append(header, pre);
    button.addEventListener('click', async () => {
      if (!await copyText(this.document, this.codeText(shown), button)) return;
      button.textContent = this.labels.copied;
      clearTimeout(shown.timer);
      shown.timer = setTimeout(() => { button.textContent = this.labels.copy; }, 2000);
    });
    Object.assign(shown, { el: box, host: code, name, pre });
  }

  language(shown, lang) {
    shown.lang = lang;
    const name = lang ? languageName(lang) : this.labels.code;
    if (shown.name.textContent !== name) shown.name.textContent = name;
    const label = lang ? `${this.labels.code}: ${name}` : name;
    shown.el.setAttribute('aria-label', label);
    shown.pre.setAttribute('aria-label', label);
  }

  /** The whole text of a code block, with what is behind its button. */
  codeText(shown) {
    if (shown.text !== undefined) return shown.text;
    if (shown.cp) return String.fromCodePoint(parseInt(shown.cp, 16));
    if (shown.t === 'more') return shown.rest;
    return shown.kids.map((kid) => this.codeText(kid)).join('');
  }

  tableShell(shown) {
    const box = this.element('div', 'md-table');
    box.setAttribute('role', 'region');
    box.setAttribute('tabindex', '0');
    // Regions are told apart by their labels.
    box.setAttribute('aria-label', `${this.labels.table} ${tables += 1}`);
    const table = this.element('table');
    shown.head = this.element('thead');
    shown.body = this.element('tbody');
    table.append(shown.head, shown.body);
    box.appendChild(table);
    Object.assign(shown, { el: box, host: shown.body });
  }

  formulaShell(shown, node) {
    const el = this.element(node.display ? 'div' : 'span', node.display ? 'md-math md-math-display' : 'md-math');
    if (!node.c.length) el.appendChild(this.element('code', 'md-cs', node.tex));
    if (node.display) el.setAttribute('tabindex', '0');
    // A paragraph cannot hold a block, and a formula must not fall out of its paragraph.
    if (node.display) {
      el.setAttribute('role', 'math');
      el.setAttribute('aria-label', node.tex);
    }
    shown.tex = node.tex;
    Object.assign(shown, { el, host: el });
  }

  mathElement(shown, node) {
    const el = this.document.createElementNS(MATHML, node.n);
    for (const [name, value] of Object.entries(JSON.parse(node.at))) el.setAttribute(name, value);
    // Through the object model: the page's policy refuses style attributes.
    for (const [name, value] of Object.entries(JSON.parse(node.st))) {
      if (name.includes('-')) el.style.setProperty(name, value);
      else el.style[name] = value;
    }
    Object.assign(shown, { el, host: el });
  }

  pictureShell(shown, node) {
    const src = safePicture(node.src);
    const el = this.element(src ? 'img' : 'span');
    if (src) {
      el.src = src;
      el.alt = node.alt;
      el.decoding = 'async';
    } else el.textContent = node.alt;
    Object.assign(shown, { el, host: el });
  }

  moreShell(shown) {
    const el = this.element('span', 'md-more');
    const button = this.element('button', 'md-more-button');
    button.type = 'button';
    el.appendChild(button);
    shown.from = 0;
    shown.button = button;
    button.addEventListener('click', () => {
      let to = shown.from + STEP;
      if (/[\uD800-\uDBFF]/.test(shown.rest[to - 1] ?? '')) to--;
      for (const part of splitBidi(shown.rest.slice(shown.from, to))) el.insertBefore(this.make(part).el, button);
      shown.from = Math.min(to, shown.rest.length);
      this.updateMore(shown);
    });
    Object.assign(shown, { el, host: el });
  }

  updateMore(shown) {
    const left = shown.rest.length - shown.from;
    shown.button.hidden = left <= 0;
    const text = this.labels.showMore(Math.ceil(left / 1024));
    if (shown.button.textContent !== text) shown.button.textContent = text;
  }

  /** Applies a change (see delta.js) and gives what stands there now; the caller puts it in place. */
  * patch(shown, change) {
    if (change === 0) return shown;
    if (typeof change === 'string') {
      if (shown.text === undefined) return this.make(change);
      this.setText(shown, change);
      return shown;
    }
    if (change.a !== undefined) {
      shown.text += change.a;
      shown.el.appendData(change.a);
      return shown;
    }
    if (change.d) {
      if (shown.t === 'more') this.patchMore(shown, change.d[0]);
      else yield* this.patchKids(shown, change.k, change.d);
      return shown;
    }
    const whole = shown.t !== change.t || change.t === 'm' || change.t === 'math' || change.t === 'img';
    if (whole) return yield* this.build(change);
    this.properties(shown, change);
    if (shown.t === 'more') this.patchMore(shown, change.c[0]);
    else yield* this.patchKids(shown, 0, change.c ?? []);
    return shown;
  }

  patchMore(shown, change) {
    shown.rest = change.a !== undefined ? shown.rest + change.a : change;
    this.updateMore(shown);
  }

  * patchKids(shown, kept, changes) {
    for (let i = 0; i < changes.length; i++) {
      const kid = shown.kids[kept + i];
      if (!kid) {
        const made = yield* this.build(changes[i]);
        this.attach(shown, made);
        if (CONTAINERS.has(made.t) || i % MANY === 0) yield;
        continue;
      }
      const now = yield* this.patch(kid, changes[i]);
      if (now !== kid) {
        kid.el.replaceWith(now.el);
        shown.kids[kept + i] = now;
      }
    }
    for (const kid of shown.kids.splice(kept + changes.length)) kid.el.remove();
  }

  // The part that stays is not touched, so that a selection in it stays too.
  setText(shown, text) {
    const old = shown.text;
    let same = 0;
    const limit = Math.min(old.length, text.length);
    while (same < limit && old[same] === text[same]) same++;
    shown.el.replaceData(same, old.length - same, text.slice(same));
    shown.text = text;
  }

  /** Puts coloured runs, made already, in the place of a code block's plain text. */
  colour(shown, kids) {
    const more = shown.kids.at(-1)?.t === 'more' ? shown.kids.at(-1) : null;
    const fragment = this.document.createDocumentFragment();
    for (const kid of kids) fragment.appendChild(kid.el);
    if (more) fragment.appendChild(more.el);
    shown.host.replaceChildren(fragment);
    shown.kids = more ? [...kids, more] : kids;
  }
}
