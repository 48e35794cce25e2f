// Two answers to one question, side by side: another model, or the same with another seed. One is kept.

import { fill, h, iconButton } from '../dom.js';
import { t, tNodes } from '../i18n.js';
import { adapters, describe, displayName, models } from '../models.js';
import { openDialog } from '../overlay.js';
import { state } from '../state.js';
import { waiting } from './message.js';

/** The two columns; `views` are message views, fewer than two while the second has not begun. */
export function pairView(chat, views, does) {
  const isBusy = chat.busy;
  const remove = h('input', { type: 'checkbox' });
  const choose = (view) => () => { if (view && chat.pair) chat.pair.chosen = view.message.id; };
  const column = (view, at) => h('div', { class: 'pair-column', onfocusin: choose(view), onpointerdown: choose(view) },
    view?.element ?? h('div', { class: 'message assistant pending' }, waiting(chat.model)),
    view && !isBusy && h('button', { type: 'button', class: 'button keep', testid: 'keep', onclick: () => does.keep(view.message.id, remove.checked) },
      t('compare.keep', { n: at + 1 })));
  return h('section', { class: 'pair', 'aria-label': t('compare.title') },
    h('div', { class: 'pair-columns' }, [0, 1].map((at) => column(views[at], at))),
    !isBusy && h('label', { class: 'check pair-option' }, remove, h('span', {}, t('compare.deleteOther'))));
}

/** Asks what the second answer comes from; gives { model, seed } or null. */
export function chooseOther(current, { anchor } = {}) {
  return new Promise((resolve) => {
    let choice = null;
    const names = [...models().map((model) => model.name), ...adapters().map((adapter) => adapter.name), ...state.personas.map((persona) => persona.id)];
    if (!names.includes(current)) names.unshift(current);
    const pick = (value) => () => { choice = value; close(); };
    const row = (label, note, value) => h('li', {}, h('button', { type: 'button', class: 'row', testid: 'compare-choice', onclick: pick(value) },
      h('span', { class: 'row-main' }, h('bdi', { class: 'row-title' }, label), note && h('span', { class: 'row-note' }, note))));
    const { close } = openDialog({
      title: t('compare.title'), testid: 'compare-dialog', anchor, kind: 'sheet picker',
      body: [
        h('p', { class: 'note' }, t('compare.explain')),
        h('ul', { class: 'rows' },
          row(t('compare.sameModel'), displayName(current), {}),
          names.filter((name) => name !== current).map((name) => row(displayName(name), kindOf(name), { model: name }))),
      ],
      onclose: () => resolve(choice),
    });
  });
}

function kindOf(name) {
  const { kind, model } = describe(name);
  if (kind === 'persona') return t('kind.persona');
  if (kind === 'adapter') return t('kind.adapter', { model: model?.name ?? '' });
  return model?.quantization ?? '';
}

/** The chip above the composer that says that the next question is asked twice. */
export function compareChip(element, other, cancel) {
  if (!other) { element.hidden = true; element.replaceChildren(); return; }
  element.hidden = false;
  fill(element,
    h('span', {}, other.model ? tNodes('compare.with', { name: displayName(other.model) }) : t('compare.withSeed')),
    iconButton('close', t('compare.cancel'), { onclick: cancel, class: 'small' }));
}
