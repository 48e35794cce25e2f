// Makes and changes a persona. What its card has beyond these fields stays as it is.

import { json, part, post } from '../api.js';
import { button, h, iconButton } from '../dom.js';
import { t } from '../i18n.js';
import { attempt, openDialog, toast } from '../overlay.js';

const LONG = [['description', 5], ['personality', 3], ['scenario', 3], ['first_mes', 4], ['mes_example', 4], ['system_prompt', 3], ['creator_notes', 3]];
const LABELS = { first_mes: 'persona.first', mes_example: 'persona.examples', system_prompt: 'persona.system', creator_notes: 'persona.notes', description: 'persona.description', personality: 'persona.personality', scenario: 'persona.scenario' };

const EMPTY = {
  spec: 'chara_card_v3', spec_version: '3.0',
  data: { name: '', description: '', personality: '', scenario: '', first_mes: '', mes_example: '', creator_notes: '', system_prompt: '', post_history_instructions: '', alternate_greetings: [], group_only_greetings: [], tags: [], creator: '', character_version: '', extensions: {} },
};

/** `persona` is null for a new one; `saved` is called when there is something new to see. */
export async function openEditor(persona, saved) {
  let card = EMPTY;
  if (persona) {
    const told = await attempt(() => json(`/v1/personas/${part(persona.id)}/card`));
    if (!told) return;
    card = told.card;
  }
  const data = card.data ?? {};
  const name = h('input', { class: 'input', type: 'text', dir: 'auto', required: true, maxlength: 200, value: data.name ?? '', testid: 'persona-name' });
  const tags = h('input', { class: 'input', type: 'text', dir: 'auto', value: (data.tags ?? []).join(', ') });
  const long = Object.fromEntries(LONG.map(([key, rows]) => [key, h('textarea', { class: 'input', rows, dir: 'auto', value: data[key] ?? '', testid: `persona-${key}` })]));
  const greetings = h('div', { class: 'greetings' });
  const addGreeting = (text = '') => {
    const area = h('textarea', { class: 'input', rows: 3, dir: 'auto', 'aria-label': t('persona.alternates'), value: text });
    const row = h('div', { class: 'line' }, area, iconButton('trash', t('persona.removeGreeting'), { onclick: () => row.remove() }));
    greetings.append(row);
    return area;
  };
  (data.alternate_greetings ?? []).forEach(addGreeting);
  const field = (label, control) => h('label', { class: 'field' }, h('span', {}, label), control);
  const form = h('form', { class: 'dialog-form', onsubmit: (event) => { event.preventDefault(); save(); } },
    h('p', { class: 'note' }, t('persona.placeholders', { char: '{{char}}', user: '{{user}}' })),
    field(t('persona.name'), name),
    LONG.slice(0, 4).map(([key]) => field(t(LABELS[key]), long[key])),
    h('fieldset', {}, h('legend', {}, t('persona.alternates')), greetings,
      h('div', {}, button(t('persona.addGreeting'), { icon: 'plus', onclick: () => addGreeting().focus() }))),
    LONG.slice(4).map(([key]) => field(t(LABELS[key]), long[key])),
    field(t('persona.tags'), tags));
  const save = () => attempt(async () => {
    if (!form.reportValidity()) return;
    const next = {
      ...card,
      data: {
        ...EMPTY.data, ...data,
        name: name.value.trim(),
        ...Object.fromEntries(LONG.map(([key]) => [key, long[key].value])),
        alternate_greetings: [...greetings.querySelectorAll('textarea')].map((area) => area.value).filter((text) => text.trim()),
        tags: tags.value.split(',').map((tag) => tag.trim()).filter(Boolean),
      },
    };
    // With another name it stays the one that conversations know.
    if (persona) next.data.extensions = { ...data.extensions, matou: { ...data.extensions?.matou, id: persona.id } };
    const made = persona
      ? await json(`/v1/personas/${part(persona.id)}`, { method: 'PUT', body: next })
      : await post(`/v1/personas?filename=${part(next.data.name)}.json`, next);
    close();
    toast(t('persona.saved'));
    saved(made);
  });
  const { close } = openDialog({
    title: persona ? t('persona.edit') : t('personas.create'), kind: 'side', testid: 'persona-editor', body: form,
    actions: [button(t('cancel'), { onclick: () => close() }), button(t('save'), { class: 'primary', testid: 'persona-save', onclick: save })],
  });
}
