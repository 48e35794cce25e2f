// Formulas: TeX to a tree of MathML, made by Temml's own tree and never by its markup. Only known
// elements, attributes and styles pass. Runs in the worker.

import { tree } from '../../vendor/temml/temml.js';
import { MAX_TEX } from './math.js';

const ELEMENTS = new Set(['math', 'mrow', 'mi', 'mn', 'mo', 'ms', 'mtext', 'mspace', 'mfrac', 'msqrt', 'mroot', 'mstyle', 'merror', 'mpadded', 'mphantom', 'msub', 'msup', 'msubsup', 'munder', 'mover', 'munderover', 'mmultiscripts', 'mprescripts', 'none', 'mtable', 'mtr', 'mtd', 'menclose']);
const ATTRIBUTES = new Set(['display', 'displaystyle', 'scriptlevel', 'mathvariant', 'stretchy', 'fence', 'separator', 'form', 'lspace', 'rspace', 'minsize', 'maxsize', 'largeop', 'movablelimits', 'symmetric', 'accent', 'accentunder', 'linethickness', 'width', 'height', 'depth', 'voffset', 'columnalign', 'rowalign', 'columnspacing', 'rowspacing', 'columnlines', 'rowlines', 'frame', 'columnspan', 'rowspan', 'notation', 'mathcolor', 'mathbackground', 'mathsize', 'dir']);
const MAX_NODES = 3000;
const MAX_DEPTH = 100;
const KEPT = 300;
const cache = new Map();

/** The nodes of a formula as {c, count}, or null where it is not valid or too large. */
export function formula(tex, display) {
  if (tex.length > MAX_TEX) return null;
  const key = (display ? 'd' : 'i') + tex;
  if (!cache.has(key)) {
    if (cache.size >= KEPT) cache.delete(cache.keys().next().value);
    cache.set(key, make(tex, display));
  }
  return cache.get(key);
}

function make(tex, display) {
  try {
    const made = tree(tex, {
      displayMode: display, trust: false, strict: false, throwOnError: true, maxExpand: 500, maxSize: [20, 200], wrap: display ? 'none' : 'tex', macros: {},
    });
    const counter = { count: 0 };
    return { c: convert(made, counter, 0), count: counter.count };
  } catch {
    return null;
  }
}

function convert(node, counter, depth) {
  if (typeof node.text === 'string' && !node.children) return [node.text];
  if (++counter.count > MAX_NODES || depth > MAX_DEPTH) throw new RangeError('formula too large');
  const children = (node.children ?? []).flatMap((child) => convert(child, counter, depth + 1));
  if (!ELEMENTS.has(node.type)) return children;
  const at = {};
  for (const [name, value] of Object.entries(node.attributes ?? {})) {
    if (ATTRIBUTES.has(name)) at[name] = String(value);
  }
  const names = (node.classes ?? []).filter((name) => /^[\w-]+$/.test(name));
  if (names.length) at.class = names.join(' ');
  const st = {};
  for (const [name, value] of Object.entries(node.style ?? {})) {
    if (/^[a-z-]+$/i.test(name) && value !== undefined && !/url|[\\;:]/i.test(value)) st[name] = String(value);
  }
  return [{ t: 'm', n: node.type, at: JSON.stringify(at), st: JSON.stringify(st), c: children }];
}
