// Before the first message: who answers, whether it is ready, and how one might begin.

import { h, icon } from '../dom.js';
import { t, tNodes, percent } from '../i18n.js';
import { describe, displayName, statusOf } from '../models.js';
import { contentText } from '../tree.js';

export function emptyState(chat, does) {
  const name = chat.model;
  const { persona } = describe(name);
  return h('div', { class: 'empty' },
    persona?.picture
      ? h('img', { class: 'empty-picture', src: persona.picture, alt: '', width: 96, height: 96 })
      : h('img', { class: 'empty-mark', src: '/page/icons/mark.svg', alt: '', width: 72, height: 72 }),
    h('h2', {}, name ? tNodes('empty.title', { name: displayName(name) }) : t('empty.noModel')),
    name && h('p', { class: 'empty-status' }, status(name)),
    persona ? greetings(persona, does) : h('ul', { class: 'examples', 'aria-label': t('empty.examples') },
      [1, 2, 3, 4].map((n) => h('li', {}, h('button', { type: 'button', class: 'example', onclick: () => does.example(t(`example.${n}`)) },
        h('span', { dir: 'auto' }, t(`example.${n}`)))))));
}

function status(name) {
  const told = statusOf(name);
  switch (told.value) {
    case 'loaded': return [h('span', { class: 'status-dot loaded', 'aria-hidden': 'true' }), t('model.ready')];
    case 'loading': return [
      h('span', {}, t('model.loadingShare', { share: percent(told.progress ?? 0) })),
      h('progress', { max: 1, value: told.progress ?? 0, 'aria-label': t('model.loading') })];
    case 'failed': return [icon('warning'), h('span', { dir: 'auto' }, t('model.failed', { why: told.error ?? '' }))];
    case 'unloaded': return [h('span', { class: 'status-dot', 'aria-hidden': 'true' }), t('model.loadsFirst')];
    default: return [];
  }
}

function greetings(persona, does) {
  return h('ul', { class: 'examples', 'aria-label': t('persona.greetings') },
    (persona.greetings ?? []).slice(0, 4).map((text, at) => h('li', {}, h('button', { type: 'button', class: 'example', onclick: () => does.greet(persona, at) },
      h('span', { dir: 'auto', class: 'clamp' }, contentText(text))))));
}
