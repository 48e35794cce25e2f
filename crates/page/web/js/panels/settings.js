// The settings of one conversation: how the model is to behave, how it chooses words, presets. Empty
// means that nothing is sent, and the model's own default holds.

import { button, h, iconButton, uniqueId } from '../dom.js';
import { DEFAULT_SYSTEM, NUMBERS, stopList, systemOf, toNumber } from '../fields.js';
import { number, t } from '../i18n.js';
import { isPersona } from '../models.js';
import { attempt, openDialog, prompt, toast } from '../overlay.js';
import { owned, read, write } from '../state.js';

const presetsKey = () => owned('presets');
/** What a preset holds: everything but whom one talks to. */
const withoutWho = ({ model: _, persona: __, ...rest }) => rest;

export function openSettings(chat) {
  let form = buildForm(chat.settings, chat);
  const holder = h('div', {}, form.element);
  const refill = (settings) => {
    const next = buildForm(settings, chat);
    form.element.replaceWith(next.element);
    form = next;
  };
  const save = () => attempt(async () => {
    const settings = form.read();
    if (!settings) return;
    await chat.setSettings(settings);
    write(owned('you'), form.you.value.trim() || null);
    if (form.forNew.checked) write(owned('next'), withoutWho(settings));
    close();
    toast(t('settings.saved'));
  });
  const { close } = openDialog({
    title: t('settings.title'), kind: 'side', testid: 'settings-dialog',
    body: [h('p', { class: 'note' }, t('settings.explain')), presets(() => form.read(), (preset) => refill({ ...withWho(chat.settings), ...preset })), holder],
    actions: [
      button(t('settings.reset'), { class: 'quiet', onclick: () => refill({ ...withWho(chat.settings), system: DEFAULT_SYSTEM }) }),
      button(t('cancel'), { onclick: () => close() }),
      button(t('save'), { class: 'primary', testid: 'settings-save', onclick: save }),
    ],
  });
}

const withWho = ({ model, persona }) => ({ ...(model && { model }), ...(persona && { persona }) });

function buildForm(settings, chat) {
  const field = (label, control, note) => h('label', { class: 'field' }, h('span', {}, label), control, note && h('span', { class: 'note' }, note));
  const system = h('textarea', { class: 'input', rows: 5, dir: 'auto', testid: 'setting-system', placeholder: t('settings.systemHint'), value: systemOf(settings, isPersona(chat.model)) });
  const numbers = Object.fromEntries(Object.entries(NUMBERS).map(([name]) => [name, h('input', {
    class: 'input', type: 'text', inputmode: name === 'seed' ? 'numeric' : 'decimal', autocomplete: 'off', testid: `setting-${name}`,
    placeholder: t('settings.default'), value: settings[name] ?? '',
  })]));
  const complaints = Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, h('p', { class: 'note error-text', id: uniqueId('wrong'), role: 'alert' })]));
  const stop = h('textarea', { class: 'input', rows: 2, dir: 'auto', spellcheck: 'false', value: stopList(settings.stop).map((each) => each.replaceAll('\n', '\\n')).join('\n') });
  const select = (options, value) => h('select', { class: 'input' }, options.map(([key, label]) => h('option', { value: key, selected: key === value }, label)));
  const thinking = select([['', t('settings.auto')], ['on', t('settings.on')], ['off', t('settings.off')]], settings.thinking === undefined ? '' : settings.thinking ? 'on' : 'off');
  const effort = select([['', t('settings.auto')], ...['low', 'medium', 'high'].map((each) => [each, t(`settings.${each}`)])], settings.reasoning_effort ?? '');
  const logprobs = h('input', { type: 'checkbox', testid: 'setting-logprobs', checked: Boolean(settings.logprobs) });
  const you = h('input', { class: 'input', type: 'text', dir: 'auto', autocomplete: 'nickname', maxlength: 100, value: settings.persona?.user ?? read(owned('you'), '') });
  const forNew = h('input', { type: 'checkbox' });
  const element = h('form', { class: 'dialog-form', onsubmit: (event) => event.preventDefault() },
    field(t('settings.system'), system),
    h('fieldset', {}, h('legend', {}, t('settings.sampling')),
      h('div', { class: 'grid' }, Object.entries(numbers).map(([name, input]) => h('div', {}, field(t(`settings.${name}`), input), complaints[name]))),
      field(t('settings.stop'), stop)),
    h('fieldset', {}, h('legend', {}, t('settings.thinkingGroup')),
      h('div', { class: 'grid' }, field(t('settings.thinking'), thinking), field(t('settings.effort'), effort))),
    h('fieldset', {}, h('legend', {}, t('settings.personaGroup')), field(t('settings.you'), you)),
    h('label', { class: 'check' }, logprobs, h('span', {}, t('settings.logprobs'), h('span', { class: 'note block' }, t('settings.logprobsHint')))),
    h('label', { class: 'check' }, forNew, h('span', {}, t('settings.applyNew'))));

  /** What was set; null, and a word about it, where a number is none. */
  const readForm = () => {
    const next = withWho(settings);
    // Empty is said too: a new conversation has one otherwise.
    next.system = system.value.trim() && system.value;
    for (const [name, input] of Object.entries(numbers)) {
      input.removeAttribute('aria-invalid');
      input.removeAttribute('aria-describedby');
      complaints[name].textContent = '';
      if (!input.value.trim()) continue;
      const value = toNumber(input.value);
      const { min = -Infinity, max = Infinity, step } = NUMBERS[name];
      if (value === undefined || value < min || value > max || (step === 1 && !Number.isInteger(value))) {
        input.setAttribute('aria-invalid', 'true');
        input.setAttribute('aria-describedby', complaints[name].id);
        complaints[name].textContent = [t('settings.invalid', { name: t(`settings.${name}`) }), max < Infinity && t('settings.range', { min: number(min), max: number(max) })].filter(Boolean).join(' ');
        input.focus();
        return null;
      }
      next[name] = value;
    }
    if (stopList(stop.value).length) next.stop = stopList(stop.value);
    if (thinking.value) next.thinking = thinking.value === 'on';
    if (effort.value) next.reasoning_effort = effort.value;
    if (logprobs.checked) next.logprobs = true;
    const user = you.value.trim();
    if (isPersona(chat.model) || next.persona) {
      const { user: _, ...rest } = next.persona ?? {};
      next.persona = { ...rest, ...(user && { user }) };
      if (!Object.keys(next.persona).length) delete next.persona;
    }
    return next;
  };
  return { element, read: readForm, forNew, you };
}

function presets(current, choose) {
  const select = h('select', { class: 'input', 'aria-label': t('settings.presets'), testid: 'preset' });
  const list = () => read(presetsKey(), []);
  const remove = iconButton('trash', t('settings.deletePreset'), { onclick: () => {
    write(presetsKey(), list().filter((each) => each.name !== select.value));
    render('');
  } });
  const render = (value) => {
    select.replaceChildren(h('option', { value: '' }, t('settings.choosePreset')), ...list().map(({ name }) => h('option', { value: name, selected: name === value }, name)));
    remove.disabled = !value;
  };
  select.addEventListener('change', () => {
    const preset = list().find((each) => each.name === select.value);
    remove.disabled = !preset;
    if (preset) choose(preset.settings);
  });
  const save = button(t('settings.savePreset'), { onclick: async () => {
    const settings = current();
    if (!settings) return;
    const name = await prompt({ title: t('settings.savePreset'), label: t('settings.presetName') });
    if (!name) return;
    write(presetsKey(), [...list().filter((each) => each.name !== name), { name, settings: withoutWho(settings) }]);
    render(name);
    toast(t('settings.presetSaved'));
  } });
  render('');
  return h('div', { class: 'line' }, select, remove, save);
}
