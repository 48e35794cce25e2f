// The worker that reads what models write: Markdown, code to highlight, formulas. Nothing here touches
// a page; a text on which this takes too long costs the reader nothing, as the page ends the worker.

import { lex } from './lexer.js';
import { delta } from './delta.js';

/** What the page shows of the unsettled end of each view, so that only changes are sent. */
const tails = new Map();
/** The definitions of links of each view. */
const links = new Map();
let math = null;
let highlight = null;

const operations = {
  lex({ view, text, fresh, streaming, budget, noMath }) {
    if (!links.has(view)) links.set(view, Object.create(null));
    const old = fresh ? [] : tails.get(view) ?? [];
    const answer = lex(text, { streaming, budget, links: links.get(view), math: noMath ? () => null : math });
    if (answer.needMath) return answer;
    const nodes = answer.blocks.map((block) => block.node);
    tails.set(view, nodes.slice(answer.settled));
    return {
      settled: answer.settled,
      stop: answer.stop,
      blocks: answer.blocks.map(({ length, count, node }, i) => ({ length, count, node: i < old.length ? delta(old[i], node) : node })),
    };
  },
  forget({ view }) {
    tails.delete(view);
    links.delete(view);
  },
  async loadMath() {
    math ??= (await import('./mathml.js')).formula;
  },
  async loadHighlight() {
    highlight ??= (await import('./highlight.js')).highlight;
  },
  highlight({ lang, text }) {
    return highlight(lang, text);
  },
};

addEventListener('message', async ({ data }) => {
  try {
    postMessage({ id: data.id, answer: await operations[data.operation](data) });
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
});
postMessage({ ready: true });
