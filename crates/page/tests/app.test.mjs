// Tests of what the page is made of that needs no browser. Run by `node --test`.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const assets = join(dirname(fileURLToPath(import.meta.url)), '..', 'web');
const module = (path) => import(join(assets, 'js', path));
const text = (path) => readFileSync(join(assets, path), 'utf8');
const files = readdirSync(assets, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(assets, join(entry.parentPath ?? entry.path, entry.name)).split(sep).join('/'))
  .sort();
const own = files.filter((path) => path.endsWith('.js') && !path.startsWith('vendor/'));

const tree = await module('tree.js');
const { EventParser, events } = await module('sse.js');
const { group, groupOf } = await module('dates.js');
const { take } = await module('chunks.js');
const { DEFAULT_SYSTEM, requestFields, stopList, systemOf, toNumber, wireMessages } = await module('fields.js');
const { find, snippet } = await module('store/find.js');
const { toMarkdown } = await module('store/markdown-export.js');
const i18n = await module('i18n.js');

const message = (id, parent, more = {}) => ({ id, parent, role: 'user', content: id, ...more });

test('a path goes from the beginning to the leaf, and siblings are counted', () => {
  const made = tree.build([message('a', null), message('b', 'a'), message('c', 'a'), message('d', 'c')]);
  assert.deepEqual(tree.pathTo(made, 'd').map((each) => each.id), ['a', 'c', 'd']);
  assert.deepEqual(tree.siblings(made, 'c'), { ids: ['b', 'c'], index: 1 });
  assert.equal(tree.leafOf(made), 'd');
  assert.equal(tree.leafOf(made, 'b'), 'b');
});

test('a new message is a sibling, a known one is changed in place', () => {
  const made = tree.build([message('a', null)]);
  const kept = tree.put(made, message('b', 'a'));
  assert.equal(tree.put(made, { id: 'b', content: 'new' }), kept);
  assert.equal(kept.content, 'new');
  tree.put(made, message('c', 'a'));
  assert.deepEqual(tree.siblings(made, 'b').ids, ['b', 'c']);
});

test('what is deleted takes all below it along, and the neighbour comes next', () => {
  const made = tree.build([message('a', null), message('b', 'a'), message('c', 'a'), message('d', 'c'), message('e', 'd')]);
  assert.equal(tree.afterRemoval(made, 'c'), 'b');
  assert.deepEqual(tree.remove(made, 'c').sort(), ['c', 'd', 'e']);
  assert.equal(tree.afterRemoval(made, 'b'), 'a');
  assert.deepEqual([...made.byId.keys()], ['a', 'b']);
  assert.equal(tree.afterRemoval(made, 'a'), null);
});

test('broken trees end: circles, missing parents, a message that is its own parent', () => {
  const circle = tree.build([message('a', 'b'), message('b', 'a'), message('s', 's'), message('o', 'gone')]);
  assert.equal(tree.pathTo(circle, 'a').length, 2);
  assert.deepEqual(tree.pathTo(circle, 's').map((each) => each.id), ['s']);
  assert.deepEqual(tree.pathTo(circle, 'o').map((each) => each.id), ['o']);
  assert.ok(['a', 'b'].includes(tree.leafOf(circle, 'a')));
});

test('ten thousand messages are a path at once', () => {
  const many = Array.from({ length: 10_000 }, (_, at) => message(`m${at}`, at ? `m${at - 1}` : null));
  const started = performance.now();
  const made = tree.build(many);
  assert.equal(tree.pathTo(made, tree.leafOf(made)).length, 10_000);
  assert.ok(performance.now() - started < 1000);
});

test('titles are the beginning of the first line, in whole words', () => {
  assert.equal(tree.titleOf('  # Hello there\nmore'), 'Hello there');
  const long = tree.titleOf(`${'word '.repeat(30)}end`);
  assert.ok(long.length <= 61 && long.endsWith('word…'));
  assert.equal(tree.titleOf([{ type: 'text', text: 'parts' }]), 'parts');
  assert.ok(!/[\uD800-\uDBFF]…$/.test(tree.titleOf(`${'x'.repeat(59)}😀😀`)));
});

test('events are read whatever the borders of the chunks', () => {
  const stream = ': hello\r\n\r\ndata: {"a":1}\r\n\r\ndata: one\ndata: two\n\nevent: x\ndata:three\r\rdata: [DONE]\n\n';
  const whole = new EventParser().push(stream);
  assert.deepEqual(whole, ['{"a":1}', 'one\ntwo', 'three', '[DONE]']);
  for (let size = 1; size < 9; size += 1) {
    const parser = new EventParser();
    const got = [];
    for (let at = 0; at < stream.length; at += size) got.push(...parser.push(stream.slice(at, at + size)));
    assert.deepEqual(got, whole, `chunks of ${size}`);
  }
});

test('a stream of bytes: characters that are cut in two, a broken event, an end', async () => {
  const bytes = new TextEncoder().encode('data: {"t":"é😀"}\n\ndata: {broken\n\ndata: [DONE]\n\ndata: {"late":1}\n\n');
  const body = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
      controller.close();
    },
  });
  const got = [];
  for await (const event of events({ body })) got.push(event);
  assert.deepEqual(got, [{ t: 'é😀' }, { done: true }]);
});

test('chunks make up a message: text, thoughts, calls in pieces, figures', () => {
  const made = { content: '' };
  const delta = (fields, more = {}) => take(made, { choices: [{ delta: fields, ...more }] });
  assert.deepEqual(delta({ reasoning_content: 'hm' }), { content: '', reasoning: 'hm' });
  delta({ content: 'a' });
  delta({ content: 'b' });
  delta({ tool_calls: [{ index: 0, id: 'c1', function: { name: 'f', arguments: '{"x"' } }] });
  delta({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] });
  delta({}, { finish_reason: 'tool_calls' });
  take(made, { choices: [], usage: { completion_tokens: 2 } });
  assert.deepEqual(made, {
    content: 'ab', reasoning: 'hm', finish_reason: 'tool_calls', usage: { completion_tokens: 2 },
    tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{"x":1}' } }],
  });
  assert.doesNotThrow(() => take(made, {}));
});

test('only what was set is sent', () => {
  assert.deepEqual(requestFields({}), {});
  assert.deepEqual(requestFields({ temperature: 0, top_p: '', seed: 7, stop: 'a\n\\n', thinking: false, logprobs: true, persona: { greeting: 0, user: '' } }), {
    temperature: 0, seed: 7, stop: ['a', '\n'], chat_template_kwargs: { enable_thinking: false }, logprobs: true, top_logprobs: 5, persona: { greeting: 0 },
  });
  assert.deepEqual(stopList(['x', '', 3]), ['x']);
  assert.equal(toNumber('0,7'), 0.7);
  assert.equal(toNumber('abc'), undefined);
  assert.equal(toNumber(' '), undefined);
});

test('the system prompt of a new conversation is not for personas, one that was written is', () => {
  assert.equal(requestFields({ system: DEFAULT_SYSTEM }).system, DEFAULT_SYSTEM);
  assert.ok(!('system' in requestFields({ system: DEFAULT_SYSTEM }, true)));
  assert.equal(requestFields({ system: 'Be brief.' }, true).system, 'Be brief.');
  assert.ok(!('system' in requestFields({ system: '' })));
  assert.deepEqual([systemOf({}), systemOf({ system: '' }), systemOf({ system: DEFAULT_SYSTEM })], ['', '', DEFAULT_SYSTEM]);
});

test('in French no line ends before a mark that stands apart', () => {
  assert.deepEqual(text('lang/fr.json').split('\n').filter((line) => / [;:?!»]|« /.test(line.replace(/^\s*"[^"]*": /, ''))), []);
});

test('messages of a path become those of a request', () => {
  const path = [message('a', null), message('b', 'a', { role: 'assistant', reasoning: 'hm', state: 'failed', content: '' }), message('c', 'a', { role: 'tool', tool_call_id: 't' })];
  assert.deepEqual(wireMessages(path, 'Be brief.'), [
    { role: 'system', content: 'Be brief.' }, { role: 'user', content: 'a' }, { role: 'tool', content: 'c', tool_call_id: 't' },
  ]);
});

test('conversations are grouped by date, pinned ones first', () => {
  const now = new Date(2026, 10, 27, 9, 0);
  const at = (...when) => new Date(...when).getTime() / 1000;
  assert.equal(groupOf(at(2026, 10, 27, 0, 1), now).key, 'today');
  assert.equal(groupOf(at(2026, 10, 28), now).key, 'today', 'a clock that is ahead');
  assert.equal(groupOf(at(2026, 10, 26, 23, 59), now).key, 'yesterday');
  assert.equal(groupOf(at(2026, 10, 20, 12), now).key, 'week');
  assert.equal(groupOf(at(2026, 10, 1), now).key, 'month');
  assert.equal(groupOf(at(2026, 8, 1), now).key, '2026-9');
  const groups = group([{ pinned: true, updated_at: at(2025, 1, 1) }, { updated_at: at(2026, 10, 27) }, { updated_at: at(2026, 10, 27) }, {}], now);
  assert.deepEqual(groups.map((each) => [each.key, each.items.length]), [['pinned', 1], ['today', 2], [groupOf(0, now).key, 1]]);
});

test('search folds case and accents, and marks the original text', () => {
  const found = snippet('Un Été à Paris, et l’ÉTÉ encore', 'ete');
  assert.deepEqual(found.matches.map(([from, to]) => found.text.slice(from, to)), ['Été', 'ÉTÉ']);
  assert.equal(snippet('only one word', 'one two'), null);
  assert.equal(snippet('anything', '  '), null);
  const far = snippet(`${'x '.repeat(500)}needle ${'y '.repeat(500)}`, 'NEEDLE');
  assert.ok(far.text.length < 200 && far.text.slice(...far.matches[0]) === 'needle');
  const emoji = snippet('😀😀 cat', 'cat');
  assert.equal(emoji.text.slice(...emoji.matches[0]), 'cat');
  assert.equal(find({ title: 'x' }, [message('m', null, { content: 'the needle' })], 'needle').message_id, 'm');
});

test('a conversation as Markdown is its branch', () => {
  const out = toMarkdown({ title: 'T', leaf: 'c', messages: [message('a', null), message('b', 'a'), message('c', 'a', { role: 'assistant', model: 'm', reasoning: 'x\ny' })] });
  assert.ok(out.startsWith('# T\n\n## User\n\na\n\n## Assistant (m)'));
  assert.ok(out.includes('> x\n> y') && !out.includes('\nb\n'));
});

test('languages: chosen by the reader’s order, plurals by the language’s rules', () => {
  assert.equal(i18n.choose(['de-DE', 'fr-CA', 'en']), 'fr');
  assert.equal(i18n.choose(['de']), 'en');
  i18n.use('en', { n: { one: '{n} token', other: '{n} tokens' }, plain: 'a {x} b' });
  assert.equal(i18n.t('n', { n: 1 }), '1 token');
  assert.equal(i18n.t('n', { n: 0 }), '0 tokens');
  assert.equal(i18n.t('plain', { x: '{n} $& <b>' }), 'a {n} $& <b> b');
  assert.equal(i18n.t('missing'), 'missing');
  i18n.use('fr', { n: { one: '{n} jeton', other: '{n} jetons' } });
  assert.equal(i18n.t('n', { n: 0 }), '0 jeton');
  assert.equal(i18n.t('n', { n: 2 }), '2 jetons');
});

const languages = Object.fromEntries(Object.keys(i18n.LANGUAGES).map((tag) => [tag, JSON.parse(text(`lang/${tag}.json`))]));
const places = (entry) => [...new Set(JSON.stringify(entry).match(/\{\w+\}/g) ?? [])].sort();

test('every language has every text, with the same places in it', () => {
  const { en, ...others } = languages;
  for (const [tag, table] of Object.entries(others)) {
    assert.deepEqual(Object.keys(table).sort(), Object.keys(en).sort(), tag);
    for (const key of Object.keys(en)) {
      assert.equal(typeof table[key], typeof en[key], `${tag}: ${key}`);
      assert.deepEqual(places(table[key]), places(en[key]), `${tag}: ${key}`);
    }
  }
});

test('every text that is asked for exists, and every text is asked for', () => {
  const source = own.map((path) => text(path)).join('\n');
  const known = Object.keys(languages.en);
  for (const [, key] of source.matchAll(/\bt(?:Nodes)?\('([^']+)'/g)) assert.ok(known.includes(key), `t('${key}') has no text`);
  const prefixes = [...source.matchAll(/\bt\(`([^`$]+)\$\{/g)].map((found) => found[1]);
  for (const prefix of prefixes) assert.ok(known.some((key) => key.startsWith(prefix)), `t(\`${prefix}…\`) has no text`);
  for (const key of known) {
    assert.ok(source.includes(`'${key}'`) || prefixes.some((prefix) => key.startsWith(prefix)), `${key} is not used`);
  }
});

test('every module that is imported is there', () => {
  for (const path of own) {
    for (const [, to] of text(path).matchAll(/(?:from|import|import\(|later\()\s*'(\.{1,2}\/[^']+)'/g)) {
      assert.ok(files.includes(posix.join(posix.dirname(path), to)), `${path} imports ${to}`);
    }
  }
});

test('what the first page and the manifest name is there', () => {
  const named = [...text('index.html').matchAll(/(?:href|src)="\/page\/([^"]+)"/g), ...text('manifest.webmanifest').matchAll(/"\/page\/([^"]+)"/g)];
  assert.ok(named.length > 10);
  for (const [, path] of named) assert.ok(files.includes(path), path);
});

test('no script or style in the markup, and nothing that makes HTML of text', () => {
  const html = text('index.html');
  assert.ok(!/<style|\sstyle=|\son\w+=|javascript:/i.test(html));
  assert.ok(!/<script(?![^>]*\ssrc=)/i.test(html));
  for (const path of own) {
    const source = text(path);
    assert.ok(!/\.(innerHTML|outerHTML)\b|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|setHTMLUnsafe/.test(source), path);
    assert.ok(!/https?:\/\//.test(source.replaceAll('http://www.w3.org/', '')), `${path} names another host`);
  }
});
