// The gallery: who there is to talk to, with pictures and biographies; a card dropped here is added.

import { request } from '../api.js';
import { button, fill, h, isTouch } from '../dom.js';
import { t, tNodes } from '../i18n.js';
import { refreshPersonas } from '../models.js';
import { attempt, confirm, openDialog, toast } from '../overlay.js';
import { on, state } from '../state.js';
import { openEditor } from './persona-editor.js';

const nameOf = (persona) => persona.nickname || persona.name || persona.id;

export function openPersonas({ chat }) {
  const page = h('div', { class: 'persona-page drop-zone' });
  let query = '';
  let current = null;
  const gallery = () => { current = null; render(); };
  const render = () => {
    if (current) fill(page, onePersona(current, { back: gallery, chat: (...args) => { close(); chat(...args); }, edit: (persona) => edit(persona) }));
    else fill(page, galleryOf(query, { open: (persona) => { current = persona; render(); page.querySelector('h3')?.focus(); }, search: (text) => { query = text; }, create: () => edit(null), importFiles: (files) => add(files) }));
  };
  const edit = (persona) => openEditor(persona, async (made) => { await refreshPersonas(); current = state.personas.find((each) => each.id === made?.id) ?? null; render(); });
  const add = (files) => attempt(async () => {
    for (const file of files) {
      const made = await (await request(`/v1/personas?filename=${encodeURIComponent(file.name)}`, { method: 'POST', raw: file, headers: { 'Content-Type': 'application/octet-stream' } })).json();
      toast(t('personas.imported', { name: nameOf(made) }));
    }
    await refreshPersonas();
    render();
  });
  render();
  const end = on('status', () => { if (!current && !page.contains(document.activeElement)) render(); });
  const { close, dialog } = openDialog({ title: t('personas.title'), kind: 'wide', testid: 'personas-dialog', body: page, onclose: end });
  if (state.session.persona_editing) receiveDrops(dialog, page, add);
  refreshPersonas();
}

function receiveDrops(dialog, page, add) {
  const over = (is) => (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    page.classList.toggle('is-over', is);
  };
  dialog.addEventListener('dragover', over(true));
  dialog.addEventListener('dragleave', over(false));
  dialog.addEventListener('drop', (event) => { over(false)(event); if (event.dataTransfer?.files.length) add([...event.dataTransfer.files]); });
}

const picture = (persona, size) => (persona.picture
  ? h('img', { src: persona.picture, alt: '', loading: 'lazy', width: size, height: size })
  : h('span', { class: 'avatar mark', 'aria-hidden': 'true' }));

function galleryOf(query, { open, search, create, importFiles }) {
  const cards = h('div', { class: 'gallery' });
  const show = (text) => {
    const wanted = text.toLowerCase();
    const list = state.personas.filter((each) => !wanted || [each.name, each.nickname, each.creator_notes, ...(each.tags ?? [])].join(' ').toLowerCase().includes(wanted));
    fill(cards, list.map((persona) => h('button', { type: 'button', class: 'persona', testid: 'persona-card', data: { id: persona.id }, onclick: () => open(persona) },
      picture(persona, 72),
      h('bdi', { class: 'persona-name' }, nameOf(persona)),
      h('span', { class: 'persona-bio', dir: 'auto' }, persona.creator_notes || persona.greetings?.[0] || ''),
      persona.tags?.length > 0 && h('span', { class: 'tags' }, persona.tags.slice(0, 3).map((tag) => h('bdi', { class: 'tag' }, tag))))));
    if (!list.length) fill(cards, h('p', { class: 'note' }, state.personas.length ? t('sidebar.nothing') : t('personas.none')));
  };
  show(query);
  const file = h('input', { type: 'file', multiple: true, accept: '.png,.json,.charx,.toml', class: 'visually-hidden', tabindex: '-1', 'aria-hidden': 'true', testid: 'persona-file', onchange: () => { const files = [...file.files]; file.value = ''; importFiles(files); } });
  return [
    h('div', { class: 'line' },
      h('input', { class: 'input', type: 'search', value: query, placeholder: t('personas.search'), 'aria-label': t('personas.search'), oninput: (event) => { search(event.target.value); show(event.target.value); } }),
      state.session.persona_editing && [
        button(t('personas.import'), { icon: 'import', onclick: () => file.click() }), file,
        button(t('personas.create'), { icon: 'plus', testid: 'persona-new', onclick: create })]),
    cards,
    state.session.persona_editing && isTouch() ? null : h('p', { class: 'note' }, state.session.persona_editing ? t('personas.drop') : tNodes('personas.locked', { flag: h('code', {}, '--allow-persona-editing') })),
  ];
}

function onePersona(persona, { back, chat, edit }) {
  let greeting = 0;
  const greetings = persona.greetings ?? [];
  const start = () => chat(persona, greetings.length ? greeting : undefined);
  return [
    h('div', {}, button(t('persona.back'), { icon: 'prev', class: 'quiet', onclick: back })),
    h('div', { class: 'persona-top' }, picture(persona, 128), h('div', { class: 'row-main' },
      h('h3', { tabindex: '-1', class: 'persona-title' }, h('bdi', {}, nameOf(persona))),
      persona.creator && h('p', { class: 'note' }, tNodes('persona.by', { creator: persona.creator })),
      persona.parent && h('p', { class: 'note' }, tNodes('persona.speaks', { model: persona.parent })),
      persona.tags?.length > 0 && h('p', { class: 'tags' }, persona.tags.map((tag) => h('bdi', { class: 'tag' }, tag))))),
    persona.creator_notes && h('p', { class: 'bio', dir: 'auto' }, persona.creator_notes),
    greetings.length > 0 && h('fieldset', {}, h('legend', {}, t('persona.greeting')), greetings.map((text, at) => h('label', { class: 'greeting' },
      h('input', { type: 'radio', name: 'greeting', value: at, checked: at === 0, onchange: () => { greeting = at; } }), h('span', { dir: 'auto' }, text)))),
    h('div', { class: 'line' },
      button(t('persona.start'), { class: 'primary', testid: 'persona-start', disabled: state.offline, onclick: start }),
      persona.editable && [
        button(t('persona.edit'), { icon: 'edit', testid: 'persona-edit', onclick: () => edit(persona) }),
        button(t('persona.delete'), { icon: 'trash', testid: 'persona-delete', onclick: () => remove(persona, back) })]),
  ];
}

async function remove(persona, back) {
  const yes = await confirm({ title: t('persona.deleteTitle', { name: nameOf(persona) }), text: t('persona.deleteText'), yes: t('persona.delete') });
  if (!yes) return;
  await attempt(async () => {
    await request(`/v1/personas/${encodeURIComponent(persona.id)}`, { method: 'DELETE' });
    await refreshPersonas();
    back();
  });
}

