// Turns Markdown into a small tree of plain objects that can be sent to the page. It uses the lexer of
// `marked` and never its HTML: a piece of HTML in the text is text. Runs in the worker; pure.
//
// A node is a string or {t: kind, …properties, c: [children]}.

import { Lexer, Tokenizer } from '../../vendor/marked/marked.js';
import { hasLongLine, misleads, safeAddress, safePicture, splitBidi } from './links.js';
import { breakMarks, breakMarksIn } from './marks.js';
import { mathAt, mathBlockAt, mathStart } from './math.js';
import { mend } from './mend.js';

const MAX_DEPTH = 20;
const MAX_OVER = 2000;
export const BLOCK_LIMIT = 30 * 1024;
const NAMED = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00A0', copy: '©', reg: '®', trade: '™', hellip: '…', mdash: '—', ndash: '–', times: '×', rarr: '→', larr: '←', deg: '°', euro: '€', laquo: '«', raquo: '»', middot: '·', bull: '•' };
const PICTURE_LINE = /^!\[([^\]\n]{0,500})\]\((data:image\/[a-z]+;base64,[A-Za-z0-9+/=]+)\)[ \t]*(?:\n|$)/;

class NeedMath extends Error {}
class TooMany extends Error {}

// Nested quotes and lists are lexed by recursion: past a depth they are taken as text.
class BoundedTokenizer extends Tokenizer {
  depth = 0;

  #nested(src, lex) {
    if (this.depth >= MAX_DEPTH) return { type: 'plain', raw: src, text: src };
    this.depth++;
    try {
      return lex();
    } finally {
      this.depth--;
    }
  }

  blockquote(src) {
    return /^ {0,3}>/.test(src) ? this.#nested(src, () => super.blockquote(src)) : undefined;
  }

  list(src) {
    return /^ {0,3}(?:[*+-]|\d{1,9}[.)])(?:[ \t\n]|$)/.test(src) ? this.#nested(src, () => super.list(src)) : undefined;
  }

  // Blocks of HTML are paragraphs whose tags are text.
  html() {
    return undefined;
  }

  // "[^1]: word" is a footnote, which is shown, and not the target of a link.
  def(src) {
    return /^ {0,3}\[\^/.test(src) ? undefined : super.def(src);
  }
}

function options() {
  return {
    gfm: true,
    breaks: true,
    tokenizer: new BoundedTokenizer(),
    extensions: {
      renderers: {},
      childTokens: {},
      block: [
        (src) => token('mathBlock', mathBlockAt(src)),
        (src) => {
          const found = src.startsWith('![') && PICTURE_LINE.exec(src);
          return found ? { type: 'picture', raw: found[0], alt: found[1], href: found[2] } : undefined;
        },
      ],
      startBlock: [(src) => {
        const found = /\n {0,3}(?:\$\$|\\\[)/.exec(src);
        return found && mathBlockAt(src.slice(found.index + 1, found.index + 2300)) ? found.index + 1 : -1;
      }],
      inline: [(src) => token('math', mathAt(src))],
      startInline: [mathStart],
    },
  };
}

function token(type, found) {
  return found && { type, ...found };
}

/** Character references of text, which the lexer leaves as they are. */
export function decodeReferences(text) {
  return text.includes('&') ? text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (all, decimal, hex, name) => {
    if (name) return Object.hasOwn(NAMED, name) ? NAMED[name] : all;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? String.fromCodePoint(code) : '\uFFFD';
  }) : text;
}

/**
 * Lexes a part of a message that begins at the start of a block.
 *
 * `streaming`: more text follows, so that the last two blocks may still change. `links`: definitions of
 * links, kept over the parts of a message. `budget`: how many nodes may be made before the rest waits.
 * `math(tex, display)`: gives a formula's nodes or null; where it is absent and a formula occurs, the
 * answer is {needMath: true}.
 *
 * Gives {blocks: [{length, count, node}], settled, stop}: `settled` blocks from the front will not
 * change, and `stop` = {at, prefix} says where the budget ended (the rest is `prefix` + text from `at`).
 */
export function lex(text, { streaming = false, links = {}, budget = Infinity, math = null } = {}) {
  const lexer = new Lexer(options());
  Object.assign(lexer.tokens.links, links);
  lexer.blockTokens(streaming ? mend(text) : text, lexer.tokens);
  Object.assign(links, lexer.tokens.links);
  const converter = new Converter(lexer, math, budget);
  const isStacked = breakMarks(text) !== text;
  const blocks = [];
  let stop = null;
  let at = 0;
  try {
    for (const block of lexer.tokens) {
      if (block.type === 'space' || block.type === 'def') {
        if (blocks.length) blocks.at(-1).length += block.raw.length;
        else blocks.push({ length: block.raw.length, count: 0, node: null });
      } else {
        if (converter.count >= budget) stop = { at, prefix: '' };
        if (stop) break;
        const before = converter.count;
        const { node, cut } = converter.top(block);
        blocks.push({ length: block.raw.length, count: converter.count - before, node: isStacked ? breakMarksIn(node) : node });
        if (cut) stop = { at: at + cut.at, prefix: cut.prefix };
      }
      at += block.raw.length;
    }
  } catch (error) {
    if (error instanceof NeedMath) return { needMath: true };
    throw error;
  }
  const settled = stop || !streaming ? blocks.length : Math.max(0, blocks.length - 2);
  return { blocks, settled, stop };
}

class Converter {
  count = 0;

  constructor(lexer, math, budget) {
    this.lexer = lexer;
    this.math = math;
    this.budget = budget;
    this.hard = Infinity;
    this.sources = new Map(lexer.inlineQueue.map((entry) => [entry.tokens, entry.src]));
  }

  node(t, properties, children) {
    this.count += t === 'code' ? 6 : t === 'table' ? 4 : 1;
    if (this.count > this.hard) throw new TooMany();
    return children ? { t, ...properties, c: children } : { t, ...properties };
  }

  /** A block of the top level, as {node, cut}; a block with too much in it is cut between two of its children. */
  top(block) {
    const before = this.count;
    try {
      const parts = block.type === 'list' ? block.items : block.type === 'table' ? block.rows : block.type === 'blockquote' ? block.tokens : null;
      // No page that somebody means to read has so much in one paragraph or one item.
      this.hard = (parts ? Math.max(this.budget, before) : before) + MAX_OVER;
      if (!parts) return { node: this.block(block, 0) };
      const cutAt = { i: parts.length };
      const node = this.block(block, 0, (i) => {
        if (i === 0 || this.count < this.budget) return true;
        cutAt.i = Math.min(cutAt.i, i);
        return false;
      });
      return { node, cut: cutAt.i < parts.length ? cutOf(block, parts, cutAt.i) : undefined };
    } catch (error) {
      if (!(error instanceof TooMany)) throw error;
      this.count = before + 1;
      this.hard = Infinity;
      return { node: { t: 'plain', c: this.limited(block.raw, false) } };
    }
  }

  /** Text with what is over the limit set apart behind a button. */
  limited(text, marks) {
    const split = (part) => marks ? splitBidi(part) : [part];
    if (text.length <= BLOCK_LIMIT) return split(text);
    const at = breakAt(text, BLOCK_LIMIT);
    return [...split(text.slice(0, at)), { t: 'more', c: [text.slice(at)] }];
  }

  blocks(tokens, depth, go = () => true) {
    const out = [];
    for (let i = 0; i < tokens.length && go(i); i++) {
      const node = this.block(tokens[i], depth);
      if (node) out.push(node);
    }
    return out;
  }

  block(block, depth, go = () => true) {
    switch (block.type) {
      case 'heading': return this.node(`h${Math.min(6, block.depth + 2)}`, { l: block.depth, ...long(block.text) }, this.inline(block.tokens, depth));
      case 'paragraph':
      case 'text': return this.node('p', long(block.text), block.tokens ? this.inline(block.tokens, depth) : [decodeReferences(block.text)]);
      case 'code': return this.node('code', { lang: languageOf(block.lang) }, this.limited(block.text, true));
      case 'hr': return this.node('hr');
      case 'blockquote': return this.node('quote', {}, this.blocks(block.tokens, depth + 1, go));
      case 'list': {
        const items = [];
        for (let i = 0; i < block.items.length && go(i); i++) items.push(this.item(block.items[i], depth + 1));
        return block.ordered ? this.node('ol', { start: Number(block.start) || 0 }, items) : this.node('ul', {}, items);
      }
      case 'table': return this.table(block, depth, go);
      case 'mathBlock': return this.formula(block);
      case 'picture': return this.picture(block);
      case 'space':
      case 'def':
      case 'checkbox': return null;
      default: return this.node('plain', {}, this.limited(block.raw, false));
    }
  }

  item(item, depth) {
    const properties = item.task ? { task: Boolean(item.checked) } : {};
    return this.node('li', properties, this.blocks(item.tokens, depth));
  }

  table(table, depth, go) {
    const row = (cells, head) => this.node('tr', {}, cells.map((cell) => {
      const properties = { a: cell.align ?? '', ...long(cell.text) };
      return this.node(head ? 'th' : 'td', properties, this.inline(cell.tokens, depth));
    }));
    const rows = [row(table.header, true)];
    for (let i = 0; i < table.rows.length && go(i); i++) rows.push(row(table.rows[i], false));
    return this.node('table', {}, rows);
  }

  formula({ tex, display }) {
    if (!this.math) throw new NeedMath();
    const nodes = this.math(tex, display);
    if (nodes) this.count += nodes.count;
    return this.node('math', { tex, display }, nodes ? nodes.c : []);
  }

  picture({ href, alt }) {
    const src = safePicture(href);
    return src ? this.node('img', { src, alt: decodeReferences(alt) }) : this.node('p', {}, [alt]);
  }

  /** The inline tokens of a block, lexed only now: what is not shown is not lexed. */
  inline(tokens, depth) {
    const source = this.sources.get(tokens);
    let rest = '';
    if (source !== undefined && tokens.length === 0) {
      let shown = source;
      if (source.length > BLOCK_LIMIT) {
        const at = breakAt(source, BLOCK_LIMIT);
        shown = source.slice(0, at);
        rest = source.slice(at);
      }
      this.lexer.inlineTokens(shown, tokens);
    }
    const out = this.spans(tokens, depth, false);
    if (rest) out.push({ t: 'more', c: [rest] });
    return out;
  }

  spans(tokens, depth, marks) {
    const out = [];
    for (const span of tokens) {
      for (const node of this.span(span, depth, marks)) {
        if (typeof node === 'string' && typeof out.at(-1) === 'string') out.push(out.pop() + node);
        else out.push(node);
      }
    }
    return out;
  }

  span(span, depth, marks) {
    const text = (value) => marks ? splitBidi(value) : [value];
    if (depth > MAX_DEPTH) return text(span.raw);
    switch (span.type) {
      case 'strong':
      case 'em':
      case 'del': return [this.node(span.type, {}, this.spans(span.tokens, depth + 1, marks))];
      case 'codespan': return [this.node('cs', {}, splitBidi(span.text))];
      case 'br': return [this.node('br')];
      case 'link': return this.link(span, this.spans(span.tokens, depth + 1, true));
      case 'image': {
        const src = safePicture(span.href);
        if (src) return [this.node('img', { src, alt: decodeReferences(span.text) })];
        return this.link(span, splitBidi(decodeReferences(span.text) || span.href));
      }
      case 'math': return [this.formula(span)];
      // The one tag with a plain equivalent; models write it in the cells of tables.
      case 'html': return /^<br\s*\/?>$/i.test(span.raw) ? [this.node('br')] : text(span.raw);
      case 'checkbox': return [];
      case 'escape': return text(span.text);
      case 'text': return span.tokens ? this.spans(span.tokens, depth + 1, marks) : text(decodeReferences(span.text));
      default: return text(span.raw);
    }
  }

  link(span, children) {
    const target = decodeReferences(span.href);
    const href = safeAddress(target);
    if (!href) return [this.node('nolink', {}, [...children, ...(span.raw === target ? [] : [` (${target})`].flatMap(splitBidi))])];
    const shown = plainText(children);
    const properties = { href };
    if (misleads(shown, href)) properties.real = true;
    if (span.type === 'image') properties.image = true;
    return [this.node('a', properties, children.length ? children : [href])];
  }
}

/** The text of nodes, with the controls that stand as marks put back. */
export function plainText(nodes) {
  return nodes.map((node) => typeof node === 'string' ? node
    : node.t === 'bidi' ? String.fromCodePoint(parseInt(node.cp, 16))
      : node.t === 'br' ? '\n' : plainText(node.c ?? [])).join('');
}

function long(text) {
  return hasLongLine(text) ? { long: true } : {};
}

function languageOf(info) {
  return /^[^\s,{]{1,40}/.exec(info ?? '')?.[0].toLowerCase() ?? '';
}

function breakAt(text, limit) {
  const space = text.lastIndexOf('\n', limit);
  const at = space > limit / 2 ? space + 1 : limit;
  // Not between the halves of a character outside the first plane.
  return /[\uD800-\uDBFF]/.test(text[at - 1]) ? at - 1 : at;
}

function cutOf(block, parts, i) {
  if (block.type === 'list') return { at: sum(parts, i, (part) => part.raw.length), prefix: '' };
  const lines = block.type === 'table' ? i + 2 : sum(parts, i, (part) => part.raw.split('\n').length - 1);
  const all = block.raw.split('\n');
  return { at: sum(all, lines, (line) => line.length + 1), prefix: block.type === 'table' ? `${all[0]}\n${all[1]}\n` : '' };
}

function sum(items, count, size) {
  let total = 0;
  for (let i = 0; i < count && i < items.length; i++) total += size(items[i]);
  return total;
}
