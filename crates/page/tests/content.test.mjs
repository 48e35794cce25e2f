// What the chat page does with the text of a model, checked without a browser: run with `node --test`.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const ASSETS = new URL('../web/', import.meta.url);
const load = (name) => import(new URL(`js/content/${name}.js`, ASSETS));
const { lex, plainText, decodeReferences } = await load('lexer');
const { safeAddress, safePicture, misleads, splitBidi, hasLongLine } = await load('links');
const { mathAt, mathStart, mathBlockAt } = await load('math');
const { mend, inFence } = await load('mend');
const { delta } = await load('delta');
const { Builder, languageName } = await load('build');
const { withDefaults } = await load('labels');
const { formula } = await load('mathml');
const { highlight } = await load('highlight');
const { percent, probability, quotedToken, rows, tint, visibleToken } = await load('tokens');
const web = (rest, scheme = 'https') => `${scheme}:/${'/'}${rest}`;

/** A tree as one line: p("a", strong("b")). */
function describe(node) {
  if (typeof node === 'string') return JSON.stringify(node);
  if (!node) return 'nothing';
  const properties = Object.entries(node).filter(([name]) => name !== 't' && name !== 'c').map(([name, value]) => `${name}=${value}`);
  return `${[node.t, ...properties].join(' ')}(${(node.c ?? []).map(describe).join(', ')})`;
}
const tree = (text, options) => lex(text, { math: formula, ...options }).blocks.filter((block) => block.node).map((block) => describe(block.node));
const one = (text, options) => tree(text, options).join('\n');

// The least of a document that the builder needs.
class Fake {
  constructor(tag, text) {
    Object.assign(this, { tag, data: text, children: [], attributes: {}, style: { setProperty(name, value) { this[name] = value; } }, listeners: {}, parent: null });
  }
  get firstChild() { return this.children[0] ?? null; }
  get className() { return this.attributes.class ?? ''; }
  set className(value) { this.attributes.class = value; }
  get textContent() { return this.data ?? this.children.map((child) => child.textContent).join(''); }
  set textContent(text) { this.children = text ? [new Fake('#text', text)] : []; }
  set innerHTML(value) { throw new Error(`HTML: ${value}`); }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  toggleAttribute(name, on) { if (on) this.attributes[name] = ''; else delete this.attributes[name]; }
  addEventListener(name, handler) { this.listeners[name] = handler; }
  append(...nodes) { nodes.forEach((node) => this.insertBefore(node, null)); }
  appendChild(node) { return this.insertBefore(node, null); }
  insertBefore(node, before) {
    if (node.tag === '#fragment') {
      [...node.children].forEach((child) => this.insertBefore(child, before));
      return node;
    }
    node.remove();
    const at = before ? this.children.indexOf(before) : this.children.length;
    this.children.splice(at, 0, node);
    node.parent = this;
    return node;
  }
  replaceChildren(...nodes) { [...this.children].forEach((child) => child.remove()); this.append(...nodes); }
  replaceWith(node) { this.parent.insertBefore(node, this); this.remove(); }
  remove() {
    if (this.parent) this.parent.children.splice(this.parent.children.indexOf(this), 1);
    this.parent = null;
  }
  appendData(text) { this.data += text; }
  replaceData(at, count, text) { this.data = this.data.slice(0, at) + text + this.data.slice(at + count); }
  all(tag) { return [...(this.tag === tag ? [this] : []), ...this.children.flatMap((child) => child.all(tag))]; }
}
const fakeDocument = {
  createElement: (tag) => new Fake(tag),
  createElementNS: (space, tag) => new Fake(tag),
  createTextNode: (text) => new Fake('#text', text),
  createDocumentFragment: () => new Fake('#fragment'),
};
const builder = () => new Builder(fakeDocument, withDefaults());
const finish = (steps) => {
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
};

test('Markdown becomes a tree', () => {
  assert.equal(one('# A **b**'), 'h3 l=1("A ", strong("b"))');
  assert.equal(one('#### d'), 'h6 l=4("d")');
  assert.equal(one('a ~~b~~ `c`'), 'p("a ", del("b"), " ", cs("c"))');
  assert.equal(one('- [x] a\n- [ ] b'), 'ul(li task=true(p("a")), li task=false(p("b")))');
  assert.equal(one('3. a\n4. b'), 'ol start=3(li(p("a")), li(p("b")))');
  assert.equal(one('| a | b |\n|:-|-:|\n| 1 | 2 |'), 'table(tr(th a=left("a"), th a=right("b")), tr(td a=left("1"), td a=right("2")))');
  assert.equal(one('```js title\nx\n```'), 'code lang=js("x")');
  assert.equal(one('> a\n> > b'), 'quote(p("a"), quote(p("b")))');
  assert.equal(one('a\nb'), 'p("a", br(), "b")');
  assert.equal(one('x[^1]\n\n[^1]: note'), 'p("x[^1]")\np("[^1]: note")');
});

test('HTML is text', () => {
  assert.equal(one('<script>alert(1)</script>'), 'p("<script>alert(1)</script>")');
  assert.equal(one('a <b onclick=x>b</b>'), 'p("a <b onclick=x>b</b>")');
  assert.equal(one('<div>\n*a*\n</div>'), 'p("<div>", br(), em("a"), br(), "</div>")');
  assert.equal(one('&lt;b&gt; &#60;i&#x3e; &unknown; &#0;'), 'p("<b> <i> &unknown; \uFFFD")');
  assert.equal(decodeReferences('&constructor; &amp;'), '&constructor; &');
  assert.equal(one('`&lt;`'), 'p(cs("&lt;"))');
  assert.equal(one('a<br>b'), 'p("a", br(), "b")');
});

test('only addresses of the web and of mail become links', () => {
  for (const address of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'java\tscript:alert(1)', '\u0001javascript:x', 'java\u200Bscript:x', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd', 'blob:x', '/relative', '#a', '', 'http:', `${web('a')}${'b'.repeat(9000)}`]) {
    assert.equal(safeAddress(address), null, address);
  }
  assert.equal(safeAddress(web('example.org/a')), web('example.org/a'));
  assert.equal(safeAddress('mailto:a@example.org'), 'mailto:a@example.org');
  assert.equal(safeAddress(web('exam\u202Eple.org/')), web('example.org/'));
  assert.equal(one('[x](javascript:alert)'), 'p(nolink("x", " (javascript:alert)"))');
  assert.equal(one('[x](&#106;avascript:alert)'), 'p(nolink("x", " (javascript:alert)"))');
  assert.equal(one('[x](/a)'), 'p(nolink("x", " (/a)"))');
  assert.match(one(`[x](${web('a.example/')})`), /^p\(a href=\S+\("x"\)\)$/);
});

test('a text that reads as another address shows the real one', () => {
  const target = web('evil.example/path');
  for (const text of ['google.com', 'www.google.com', web('google.com/path'), 'ｇoogle.com', 'goo\u200Bgle.com', web('evil.example/other'), web('google.com@evil.example'), 'log in at google.com', ' google.com ']) {
    assert.equal(misleads(text, target), true, text);
  }
  for (const text of ['here', 'evil.example', web('evil.example/path'), 'evil.example/pa…', 'e.g. this', 'version 1.2.3', 'Node.js', 'see Node.js here']) {
    assert.equal(misleads(text, target), false, text);
  }
  assert.equal(misleads('here', web('google.com@evil.example/')), true);
  assert.equal(misleads('a@good.example', 'mailto:b@evil.example'), true);
  assert.match(one(`[google.com](${target})`), /real=true/);
});

test('pictures are never fetched', () => {
  assert.match(one(`![cat](${web('example.org/a.png')})`), /^p\(a href=\S+ image=true\("cat"\)\)$/);
  assert.equal(one('![dot](data:image/png;base64,AAAA)'), 'img src=data:image/png;base64,AAAA alt=dot()');
  assert.equal(safePicture('data:image/svg+xml;base64,AAAA'), null);
  assert.equal(safePicture(`data:image/png;base64,${'A'.repeat(3e6)}`), null);
  assert.equal(safePicture('data:image/png;base64,A"onload='), null);
});

test('characters that reorder text are shown in code and links', () => {
  assert.deepEqual(splitBidi('a\u202Eb'), ['a', { t: 'bidi', cp: '202E' }, 'b']);
  assert.match(one('`a\u2066b`'), /bidi cp=2066/);
  assert.match(one('```\na\u202Eb\n```'), /bidi cp=202E/);
  assert.equal(one('plain \u202E text'), `p(${JSON.stringify('plain \u202E text')})`);
  assert.equal(plainText(lex('`a\u202Eb`').blocks[0].node.c), 'a\u202Eb');
});

test('formulas, and prices that are none', () => {
  assert.equal(mathAt('$x^2$ a').tex, 'x^2');
  assert.equal(mathAt('$$a\nb$$').display, true);
  assert.equal(mathAt('\\(a\\)').tex, 'a');
  assert.equal(mathAt('\\[a\\]').display, true);
  assert.equal(mathAt('$5$').tex, '5');
  for (const text of ['$5 and $10', '$5-$10', '$ a$', '$a $', '$5, or 10$ now', '$1,000 to spend$', '$20k–$30k', '$a', '$$a\n\nb$$', `$${'a'.repeat(3000)}$`, '$a\nb$']) {
    assert.equal(mathAt(text), undefined, text);
  }
  assert.equal(mathStart('US$5'), -1);
  assert.equal(mathStart('is $x$'), 3);
  assert.equal(mathBlockAt('$$x$$\nmore').raw, '$$x$$\n');
  assert.equal(mathBlockAt('$$x$$ more'), undefined);
  assert.equal(one('It costs $5 and $10.'), 'p("It costs $5 and $10.")');
  assert.deepEqual(lex('$x$'), { needMath: true });
});

test('formulas become MathML of known parts, and wrong ones stay code', () => {
  const all = JSON.stringify(formula('\\frac{a}{b} \\color{red}{x} \\tag{1}', true));
  assert.match(all, /"mfrac"/);
  for (const tex of ['\\href{javascript:alert(1)}{x}', '\\htmlStyle{color:red}{x}', '\\includegraphics{x}', '\\frac{', '\\def\\a{\\a\\a}\\a', 'x'.repeat(2001)]) {
    assert.equal(formula(tex, false), null, tex);
  }
  assert.equal(one('$\\frac{$'), 'p(math tex=\\frac{ display=false())');
});

test('what is settled stays, and the end is read again', () => {
  const { blocks, settled } = lex('one\n\ntwo\n\nthree', { streaming: true });
  assert.equal(settled, 1);
  assert.equal(blocks[0].length, 5);
  assert.equal(lex('one\n\ntwo\n\nthree').settled, 3);
  for (const text of ['a\n\nb\n', '\n\n- a\n\n\n- b\n\nc', '# a\n***\n> b\n```\nc\n```\n\n| a |\n|---|\n| b |\n', '[a]: /b\n\nc\n']) {
    assert.equal(lex(text).blocks.reduce((total, block) => total + block.length, 0), text.length, JSON.stringify(text));
  }
});

test('a stream in any pieces ends as the whole text does', () => {
  const text = '# T\n\nA **bold** [link](mailto:a@b.example).\n\n1. a\n2. b\n   - c\n\n```js\nlet a;\n\n# no\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n$$\nx\n$$\n\nend';
  for (const size of [1, 2, 7, 50]) {
    const out = [];
    let at = 0;
    for (let to = size; ; to += size) {
      const ended = to >= text.length;
      const { blocks, settled } = lex(text.slice(at, to), { streaming: !ended, math: formula });
      for (const block of blocks.slice(0, settled)) {
        at += block.length;
        if (block.node) out.push(describe(block.node));
      }
      if (ended) break;
    }
    assert.deepEqual(out, tree(text), `pieces of ${size}`);
  }
});

test('an unfinished end reads well', () => {
  assert.equal(mend('a **bold'), 'a **bold**');
  assert.equal(mend('a **'), 'a ');
  assert.equal(mend('a *b* **c'), 'a *b* **c**');
  assert.equal(mend('a **b*'), 'a **b**');
  assert.equal(mend('a ~~b'), 'a ~~b~~');
  assert.equal(mend('a `code'), 'a `code`');
  assert.equal(mend('a `'), 'a ');
  assert.equal(mend('2 * 3'), '2 * 3');
  assert.equal(mend('snake_case_name'), 'snake_case_name');
  assert.equal(mend('[text](mailto:a'), 'text');
  assert.equal(mend('- a\n- **b'), '- a\n- **b**');
  assert.equal(mend('Title\n-'), 'Title');
  assert.equal(mend('a\n\n| a | b |\n|--'), 'a\n');
  assert.equal(mend('```\na **b'), '```\na **b');
  assert.equal(mend('a\n\n$$\na_1 *'), 'a\n\n$$\na_1 *');
  assert.equal(inFence('```\na'), true);
  assert.equal(inFence('```\na\n```\nb'), false);
  assert.equal(inFence('````\n```\na'), true);
});

test('nothing grows without a bound', () => {
  const deep = (node) => typeof node === 'string' || !node.c ? 1 : 1 + Math.max(0, ...node.c.map(deep));
  for (const text of ['>'.repeat(10000), '> '.repeat(5000), '- '.repeat(5000), '['.repeat(10000), '*'.repeat(10001) + 'a', '**a *b '.repeat(2000), '$'.repeat(9999), '\\(a'.repeat(5000), '\uD800 \uDC00', '<'.repeat(9999)]) {
    const { blocks } = lex(text, { math: formula, budget: 5000 });
    assert.ok(blocks.every((block) => !block.node || deep(block.node) < 60), text.slice(0, 20));
  }
  const table = `| a |\n|---|\n${'| b |\n'.repeat(20000)}`;
  const { blocks, stop } = lex(table, { budget: 5000 });
  assert.ok(blocks[0].count < 5100);
  assert.equal(stop.prefix, '| a |\n|---|\n');
  assert.equal(table.slice(stop.at, stop.at + 6), '| b |\n');
  const shown = blocks[0].node.c.length - 1;
  assert.equal((table.length - stop.at) / 6, 20000 - shown);
  const list = Array.from({ length: 9000 }, (_, i) => `${i + 1}. x\n`).join('');
  const cut = lex(list, { budget: 5000 });
  assert.match(list.slice(cut.stop.at), new RegExp(`^${cut.blocks[0].node.c.length + 1}\\. x`));
  const code = lex(`\`\`\`\n${'a line\n'.repeat(20000)}\`\`\``).blocks[0].node;
  assert.equal(code.c[1].t, 'more');
  assert.ok(code.c[0].length <= 30 * 1024);
  const words = lex('word '.repeat(20000)).blocks[0].node;
  assert.equal(plainText(words.c), 'word '.repeat(20000));
  assert.equal(words.long, true);
  assert.equal(hasLongLine('short\n'.repeat(9000)), false);
});

test('changes between two trees, applied, give the second', () => {
  const texts = ['a', 'a **b', 'a **b** c', '- a', '- a\n- b\n  - c', '- a\n\n- b', '```j', '```js\na', '```js\na\nb', '| a |\n|-|\n| b |', '| a |\n|-|\n| b |\n| c |', '[a](mailto:b@c.example)', '[a](mailto:b@d.example)', '1. a\n2. [ ] b', '`a\u202Eb`', 'x'.repeat(40000), 'x'.repeat(50000), '$x$ y', '$x+1$ y'];
  for (const from of texts) {
    for (const to of texts) {
      const [old, now] = [from, to].map((text) => lex(text, { math: formula }).blocks[0].node);
      const parent = new Fake('div');
      const shown = builder().make(old);
      parent.append(shown.el);
      const patched = finish(builder().patch(shown, delta(old, now)));
      if (patched !== shown) shown.el.replaceWith(patched.el);
      const view = (node) => node.data ?? `${node.tag} ${JSON.stringify(node.attributes).replace(/Table \d+/, "Table")} ${node.href ?? ''} [${node.children.map(view)}]`;
      assert.equal(view(parent.children[0]), view(builder().make(now).el), `${from.slice(0, 20)} → ${to.slice(0, 20)}`);
      assert.equal(parent.children.length, 1);
    }
  }
});

test('what grows keeps its nodes', () => {
  const [old, now] = ['a **bo', 'a **bold** c'].map((text) => lex(text, { streaming: true }).blocks[0].node);
  const made = builder();
  const shown = made.make(old);
  const [text, strong] = shown.el.children;
  finish(made.patch(shown, delta(old, now)));
  assert.equal(shown.el.children[0], text);
  assert.equal(shown.el.children[1], strong);
  assert.equal(shown.el.textContent, 'a bold c');
  assert.equal(delta(now, now), 0);
});

test('elements are safe and say what they are', () => {
  const made = builder();
  const make = (text) => made.make(lex(text, { math: formula }).blocks[0].node).el;
  const [link] = make(`[a](${web('b.example/')})`).all('a');
  assert.deepEqual([link.target, link.rel, link.referrerPolicy, link.title], ['_blank', 'noopener noreferrer nofollow', 'no-referrer', web('b.example/')]);
  assert.equal(made.make({ t: 'a', href: 'javascript:alert(1)', c: ['x'] }).el.href, undefined);
  assert.equal(made.make({ t: 'img', src: web('a.example/x.png'), alt: 'x' }).el.tag, 'span');
  const table = make('| a |\n|-|\n| b |');
  assert.deepEqual([table.attributes.role, table.attributes.tabindex], ['region', '0']);
  assert.match(table.attributes['aria-label'], /^Table \d+$/);
  assert.equal(table.all('th')[0].attributes.scope, 'col');
  assert.equal(table.all('tbody')[0].all('td').length, 1);
  const code = make('```python\nx\n```');
  assert.equal(code.attributes['aria-label'], 'Code: Python');
  assert.equal(code.all('pre')[0].attributes.tabindex, '0');
  assert.equal(make('text').attributes.dir, 'auto');
  assert.equal(make('<img src=x onerror=y>').all('img').length, 0);
  assert.equal(languageName('constructor'), 'Constructor');
});

test('the button for more shows more, and copying takes all', () => {
  const made = builder();
  const text = `${'abcdefghi\n'.repeat(9000)}`;
  const shown = made.make(lex(`\`\`\`\n${text}\`\`\``).blocks[0].node);
  assert.equal(made.codeText(shown), text.trimEnd());
  const [, button] = shown.el.all('button');
  const before = shown.host.textContent.length;
  button.listeners.click();
  assert.ok(shown.host.textContent.length > before + 29000);
  button.listeners.click();
  button.listeners.click();
  assert.equal(button.hidden, true);
});

test('code gets colours and no HTML', () => {
  const nodes = highlight('rust', 'let a = "<b>"; // c\u202E');
  assert.equal(plainText(nodes), 'let a = "<b>"; // c\u202E');
  assert.deepEqual(nodes[0], { t: 'tok', k: 'keyword', c: ['let'] });
  assert.equal(highlight('nothing', 'a'), null);
  assert.equal(highlight('js', 'x'.repeat(200000)), null);
  const samples = { css: 'a:hover { color: #fff }', html: '<a href="b">c</a><style>a{b:c}</style>', json: '{"a": 1}', c: 'int a;', toml: 'a = 1', dockerfile: 'FROM a', ts: 'let a: b;', sql: 'select 1', yaml: 'a: b', diff: '+ a', md: '# a', csharp: 'int a;', go: 'func a()', java: 'int a;', bash: 'echo $a', xml: '<a/>', python: 'def a(): pass' };
  for (const [lang, text] of Object.entries(samples)) {
    const made = highlight(lang, text);
    assert.equal(plainText(made), text, lang);
    assert.ok(made.some((node) => node.t === 'tok'), lang);
  }
});

test('tokens and their probabilities', () => {
  const entry = { token: ' a', logprob: Math.log(0.6), top_logprobs: [{ token: ' a', logprob: Math.log(0.6) }, { token: '\n', logprob: Math.log(0.3) }] };
  const { list, rest, alternatives } = rows(entry);
  assert.deepEqual(list.map((row) => [quotedToken(row.token), row.chosen]), [['␣a', true], ['⏎', false]]);
  assert.ok(Math.abs(rest - 0.1) < 1e-9 && alternatives);
  assert.equal(rows({ token: 'a', logprob: 0 }).alternatives, false);
  assert.equal(visibleToken({ token: '\uFFFD', bytes: [226, 150] }), '⟨E2 96⟩');
  assert.equal(quotedToken({ token: 'a\u202E' }), 'a⟨U+202E⟩');
  assert.deepEqual([1, 0.5, 0.001, 0].map(tint), [0, 2, 9, 9]);
  assert.deepEqual([1, 0.1234, 0.00123, 1e-9, 0].map((p) => percent(p, 'en')), ['100%', '12.3%', '0.12%', '<0.01%', '0.00%']);
  assert.equal(probability({}), 0);
  assert.equal(probability({ logprob: -9999 }), 0);
});

test('labels of the page come first', () => {
  const labels = withDefaults({ copy: 'Copier', showMore: 'Encore {n}', code: undefined });
  assert.deepEqual([labels.copy, labels.code, labels.showMore(3)], ['Copier', 'Code', 'Encore 3']);
});

test('the files stay small and hold neither HTML sinks nor addresses', () => {
  const files = (folder) => readdirSync(new URL(folder, ASSETS), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js')).map((entry) => `${entry.parentPath ?? entry.path}/${entry.name}`);
  const own = files('js/content/');
  const total = [...own, ...files('vendor/')].reduce((sum, file) => sum + gzipSync(readFileSync(file), { level: 9 }).length, 0);
  assert.ok(total <= 105 * 1024, `${total} bytes`);
  for (const file of own) {
    const text = readFileSync(file, 'utf8');
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?:\/\//, file);
    assert.ok(text.split('\n').length <= 600, file);
  }
});
