// What happened with an answer: the exact prompt, the request, every token with its alternatives, and
// what was measured.

import { post } from '../api.js';
import { showTokens } from '../content/tokens.js';
import { copyText, fill, h, iconButton, uniqueId } from '../dom.js';
import { date, number, t } from '../i18n.js';
import { errorText, openDialog, toast } from '../overlay.js';
import { store } from '../store/index.js';
import { openSettings } from '../panels/settings.js';
import { pretty, seconds } from './format.js';
import { contentLabels } from './labels.js';

export async function openInspect(chat, message) {
  const panel = h('div', { class: 'inspect-panel', role: 'tabpanel', tabindex: '0', id: uniqueId('panel') });
  let detail = message;
  let shown = 'timings';
  const views = {
    timings: () => timings(detail),
    prompt: () => prompt(detail),
    request: () => (detail.request ? block(t('inspect.requestNote'), pretty(detail.request)) : note(t('inspect.noRequest'))),
    tokens: () => tokens(detail, () => { close(); openSettings(chat); }),
  };
  const show = async (name) => {
    shown = name;
    for (const tab of tabs) {
      const is = tab.dataset.tab === name;
      tab.setAttribute('aria-selected', String(is));
      tab.tabIndex = is ? 0 : -1;
      if (is) panel.setAttribute('aria-labelledby', tab.id);
    }
    fill(panel, note(t('inspect.loading')));
    const made = await views[name]();
    if (shown === name) fill(panel, made);
  };
  const tabs = ['timings', 'prompt', 'request', 'tokens'].map((name) => h('button', {
    type: 'button', class: 'tab', role: 'tab', id: uniqueId('tab'), 'aria-controls': panel.id, data: { tab: name }, testid: `inspect-${name}`, onclick: () => show(name),
  }, t(`inspect.${name}`)));
  const bar = h('div', { class: 'tabs', role: 'tablist', 'aria-label': t('inspect.title') }, tabs);
  bar.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs.at((tabs.findIndex((tab) => tab.dataset.tab === shown) + step) % tabs.length);
    next.focus();
    show(next.dataset.tab);
  });
  const { close, dialog, body } = openDialog({ title: t('inspect.title'), kind: 'wide', testid: 'inspect-dialog', body: panel });
  dialog.insertBefore(bar, body);
  show('timings');
  try {
    detail = { ...message, ...await store.message(chat.id, message.id) };
    show(shown);
  } catch { /* what the page knows already is shown */ }
}

const note = (text) => h('p', { class: 'note' }, text);

function block(explain, text) {
  return [
    h('div', { class: 'codehead' }, note(explain), iconButton('copy', t('inspect.copy'), { onclick: async () => toast(await copyText(text) ? t('copy.done') : t('copy.failed')) })),
    h('pre', { class: 'plain', dir: 'auto', tabindex: '0' }, text),
  ];
}

async function prompt({ request }) {
  if (!request) return note(t('inspect.noRequest'));
  try {
    const { stream: _, stream_options: __, ...fields } = request;
    const answer = await post('/apply-template', fields);
    return block(t('inspect.promptNote'), answer.prompt ?? '');
  } catch (error) {
    return h('p', { class: 'error-text', dir: 'auto' }, errorText(error));
  }
}

function tokens({ logprobs }, settings) {
  if (!logprobs?.content?.length) {
    return [note(t('inspect.noTokens', { name: t('settings.logprobs') })), h('button', { type: 'button', class: 'button', onclick: settings }, t('inspect.openSettings'))];
  }
  const element = h('div', { class: 'tokens' });
  showTokens(element, logprobs.content, { labels: contentLabels() });
  return [note(t('inspect.tokensNote')), element];
}

function timings(message) {
  const { usage = {}, timings: measured = {} } = message;
  const speed = (value) => (value > 0 ? t('stats.speed', { speed: number(value, 1) }) : null);
  const time = (ms) => (Number.isFinite(ms) ? t('inspect.seconds', { n: seconds(ms) }) : null);
  const count = (value) => (Number.isFinite(value) ? number(value) : null);
  const facts = [
    ['model', message.model], ['when', message.created_at && date(message.created_at)],
    ['state', message.state], ['finish', message.finish_reason],
    ['promptTokens', count(usage.prompt_tokens ?? (measured.prompt_n + measured.cache_n))],
    ['cached', count(measured.cache_n ?? usage.prompt_tokens_details?.cached_tokens)],
    ['computed', count(measured.prompt_n)],
    ['promptTime', time(measured.prompt_ms)], ['promptSpeed', speed(measured.prompt_per_second)],
    ['answerTokens', count(usage.completion_tokens ?? measured.predicted_n)],
    ['answerTime', time(measured.predicted_ms)], ['answerSpeed', speed(measured.predicted_per_second)],
    ['drafts', measured.draft_n > 0 ? `${number(measured.draft_n_accepted ?? 0)} / ${number(measured.draft_n)}` : null],
  ].filter(([, value]) => value);
  if (!facts.length) return note(t('inspect.noTimings'));
  return h('dl', { class: 'facts' }, facts.map(([name, value]) => [h('dt', {}, t(`inspect.${name}`)), h('dd', { dir: 'auto' }, value)]));
}

