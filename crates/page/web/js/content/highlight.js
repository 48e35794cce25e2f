// Colours for code: Highlight.js reads it, and this emitter keeps runs of text with the name of a
// colour instead of HTML. Runs in the worker.

import hljs from '../../vendor/highlight/highlight.js';
import { splitBidi } from './links.js';

const MAX_LENGTH = 100 * 1024;
const MAX_RUNS = 2500;
const COLOURS = {
  keyword: 'keyword', built_in: 'title', type: 'title', literal: 'number', number: 'number', symbol: 'number',
  string: 'string', regexp: 'string', char: 'string', subst: null, comment: 'comment', quote: 'comment', doctag: 'keyword',
  title: 'title', section: 'title', name: 'keyword', tag: null, attr: 'attr', attribute: 'attr', property: 'attr', variable: 'attr',
  'template-variable': 'attr', params: null, meta: 'meta', 'selector-tag': 'keyword', 'selector-class': 'title', 'selector-id': 'title',
  'selector-attr': 'attr', 'selector-pseudo': 'keyword', addition: 'addition', deletion: 'deletion', bullet: 'number', link: 'string',
  code: 'string', operator: null, punctuation: null,
};

class Emitter {
  runs = [];
  #open = [];
  #colour = null;

  addText(text) {
    if (!text) return;
    const last = this.runs.at(-1);
    if (last && last[0] === this.#colour) last[1] += text;
    else this.runs.push([this.#colour, text]);
  }

  openNode(scope) {
    this.#open.push(this.#colour);
    const colour = COLOURS[String(scope).split('.')[0]];
    if (colour !== undefined) this.#colour = colour;
  }

  closeNode() {
    this.#colour = this.#open.pop() ?? null;
  }

  startScope(scope) {
    this.openNode(scope);
  }

  endScope() {
    this.closeNode();
  }

  __addSublanguage(emitter) {
    for (const [colour, text] of emitter.runs) {
      const outer = this.#colour;
      this.#colour = colour ?? outer;
      this.addText(text);
      this.#colour = outer;
    }
  }

  finalize() {}

  toHTML() {
    return '';
  }
}

// Small, in place of the full grammar, of which the lists of all property names are the most.
function css(hljs) {
  const value = [hljs.QUOTE_STRING_MODE, hljs.APOS_STRING_MODE, { scope: 'number', begin: /#[0-9a-f]{3,8}\b|[+-]?(?:\d+\.?\d*|\.\d+)(?:%|[a-z]+)?/i }, { scope: 'attr', begin: /--[\w-]+/ }, { scope: 'built_in', begin: /[\w-]+(?=\()/ }, { scope: 'keyword', begin: /!important\b/ }];
  const rule = { begin: /\{/, end: /\}/ };
  const parts = [
    hljs.C_BLOCK_COMMENT_MODE,
    hljs.COMMENT(/\/\/(?=\s)/, /$/),
    { scope: 'keyword', begin: /@[\w-]+/ },
    { begin: /(?:^|[{;]|\*\/)?\s*(?=(?:--)?[\w-]+\s*:\s*[^{}]*[;}])/, end: /[;}]/, returnEnd: true, contains: [{ scope: 'attribute', begin: /(?:--)?[a-z][\w-]*(?=\s*:)/i }, hljs.C_BLOCK_COMMENT_MODE, ...value] },
    { scope: 'selector-class', begin: /\.-?[_a-z][\w-]*/i },
    { scope: 'selector-id', begin: /#-?[_a-z][\w-]*/i },
    { scope: 'selector-pseudo', begin: /::?[a-z-]+/i },
    { scope: 'selector-attr', begin: /\[/, end: /\]/ },
    { scope: 'selector-tag', begin: /\b[a-z][\w-]*\b/i },
  ];
  rule.contains = [...parts, rule];
  return { name: 'CSS', case_insensitive: true, aliases: ['scss', 'less'], contains: [...parts, rule] };
}

hljs.configure({ __emitter: Emitter });
hljs.registerLanguage('css', css);
hljs.registerAliases(['c', 'h'], { languageName: 'cpp' });
hljs.registerAliases(['jsonc', 'json5', 'jsonl', 'ndjson'], { languageName: 'json' });
hljs.registerAliases(['shell', 'sh-session', 'fish', 'ksh'], { languageName: 'bash' });
hljs.registerAliases(['vue', 'svelte'], { languageName: 'xml' });

/** The runs of a piece of code as nodes, or null where it stays plain. */
export function highlight(lang, text) {
  if (!lang || text.length > MAX_LENGTH || !hljs.getLanguage(lang)) return null;
  const { _emitter: { runs } } = hljs.highlight(text, { language: lang, ignoreIllegals: true });
  // What is over the limit goes on in one colour, so that no block has more than so many elements.
  if (runs.length > MAX_RUNS) runs.push([null, runs.splice(MAX_RUNS).map((run) => run[1]).join('')]);
  return runs.flatMap(([colour, run]) => {
    const parts = splitBidi(run);
    return colour ? [{ t: 'tok', k: colour, c: parts }] : parts;
  });
}
