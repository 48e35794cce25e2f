// The model picker: what is in memory, what is being loaded, adapters under their base, personas.

import { fill, h, icon, iconButton, button } from '../dom.js';
import { bytes, percent, short, t } from '../i18n.js';
import { adapters, loadModel, models, refreshStatus, unloadModel } from '../models.js';
import { attempt, openDialog } from '../overlay.js';
import { on, state } from '../state.js';

export function openModels({ anchor, current, choose, personas }) {
  const list = h('div', {});
  const pick = (name) => () => { close(); choose(name); };
  const render = () => {
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    fill(list, content({ current, pick, personas: () => { close(); personas(); } }));
    if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  };
  render();
  const end = on('status', render);
  refreshStatus();
  const { close, dialog } = openDialog({ title: t('model.pick'), body: list, anchor, kind: 'sheet picker', testid: 'models-dialog', onclose: end });
  dialog.querySelector('[aria-current="true"]')?.focus();
}

function content({ current, pick, personas }) {
  const rows = models().flatMap((model) => [
    modelRow(model, current, pick),
    ...adapters().filter((adapter) => adapter.model === model.name || model.names?.includes(adapter.model)).map((adapter) =>
      row({ key: adapter.name, title: adapter.name, note: [t('kind.adapterShort'), adapter.bytes && bytes(adapter.bytes)], current, pick, isChild: true })),
  ]);
  if (!rows.length) rows.push(...state.names.map((name) => row({ key: name, title: name, current, pick })));
  const { used, budget } = state.status?.memory ?? {};
  return [
    rows.length ? h('ul', { class: 'rows' }, rows) : h('p', { class: 'note' }, t('model.nothing')),
    state.personas.length > 0 && [
      h('h3', {}, t('personas.title')),
      h('ul', { class: 'rows' }, state.personas.slice(0, 6).map((persona) => row({
        key: persona.id, title: persona.nickname || persona.name || persona.id, note: [persona.parent], current, pick,
        picture: persona.picture ?? true,
      }))),
      button(t('personas.all', { n: state.personas.length }), { onclick: personas, class: 'quiet' }),
    ],
    used > 0 && h('p', { class: 'note memory' }, budget ? t('model.memory', { used: bytes(used), budget: bytes(budget) }) : t('model.memoryUsed', { used: bytes(used) })),
  ];
}

function row({ key, title, note = [], status, current, pick, picture, isChild, extra }) {
  const is = key === current;
  return h('li', { class: isChild ? 'is-child' : undefined },
    h('button', { type: 'button', class: 'row', data: { key }, testid: 'model-row', 'aria-current': is ? 'true' : undefined, onclick: pick(key) },
      picture && (picture === true ? h('span', { class: 'avatar mark', 'aria-hidden': 'true' }) : h('img', { class: 'avatar', src: picture, alt: '', loading: 'lazy', width: 28, height: 28 })),
      h('span', { class: 'row-main' },
        h('bdi', { class: 'row-title' }, title),
        h('span', { class: 'row-note' }, note.filter(Boolean).join(' · ')),
        status),
      is && icon('check')),
    extra);
}

function modelRow(model, current, pick) {
  const told = model.status ?? {};
  const value = told.value ?? 'unloaded';
  const label = value === 'loading' ? t('model.loadingShare', { share: percent(told.progress ?? 0) }) : t(`status.${value}`);
  const act = value === 'loaded'
    ? iconButton('export', t('model.unload', { name: model.name }), { data: { key: `un:${model.name}` }, disabled: state.offline, onclick: () => attempt(() => unloadModel(model.name)) })
    : value === 'unloaded' || value === 'failed'
      ? iconButton('import', t('model.load', { name: model.name }), { data: { key: `un:${model.name}` }, disabled: state.offline, onclick: () => attempt(() => loadModel(model.name)) })
      : null;
  return row({
    key: model.name, title: model.name, current, pick,
    note: [
      Number(model.parameters) > 0 ? t('model.parameters', { n: short(Number(model.parameters)) }) : model.parameters,
      model.quantization, told.bytes && bytes(told.bytes),
      model.max_model_len && t('model.context', { n: short(model.max_model_len) }),
    ],
    status: h('span', { class: 'row-status' }, h('span', { class: `status-dot ${value}`, 'aria-hidden': 'true' }), label,
      value === 'loading' && h('progress', { max: 1, value: told.progress ?? 0, 'aria-label': t('model.loading') }),
      value === 'failed' && told.error && h('span', { class: 'error-text', dir: 'auto' }, told.error)),
    extra: act,
  });
}
