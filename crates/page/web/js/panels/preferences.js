// What holds for the page as a whole: looks, language, keys, and the conversations taken together.

import { button, download, h } from '../dom.js';
import { LANGUAGES, lang, t } from '../i18n.js';
import { attempt, confirm, openDialog, toast } from '../overlay.js';
import { emit, setPref, state } from '../state.js';
import { store } from '../store/index.js';

export function openPreferences({ signOut, imported }) {
  const choice = (name, label, options, value, changed) => h('fieldset', {}, h('legend', {}, label),
    h('div', { class: 'segments' }, options.map(([key, text]) => h('label', { class: 'segment' },
      h('input', { type: 'radio', name, value: key, checked: key === value, onchange: () => changed(key) }), h('span', {}, text)))));
  const check = (name, label) => h('label', { class: 'check' },
    h('input', { type: 'checkbox', checked: state.prefs[name], onchange: (event) => setPref(name, event.target.checked) }), h('span', {}, label));
  const file = h('input', { type: 'file', accept: '.json,application/json', class: 'visually-hidden', tabindex: '-1', 'aria-hidden': 'true', onchange: () => importFile(file, imported) });
  const isBlocked = state.offline;
  const { close } = openDialog({
    title: t('prefs.title'), testid: 'preferences-dialog',
    body: [
      choice('theme', t('prefs.theme'), [['auto', t('prefs.auto')], ['light', t('prefs.light')], ['dark', t('prefs.dark')]], state.prefs.theme, (value) => setPref('theme', value)),
      choice('lang', t('prefs.lang'), Object.entries(LANGUAGES), lang, (value) => { setPref('lang', value); location.reload(); }),
      h('div', {}, check('enterSends', t('prefs.enterSends')), check('stats', t('prefs.stats'))),
      h('fieldset', {}, h('legend', {}, t('prefs.data')),
        h('p', { class: 'note' }, state.session.history ? t('prefs.onServer') : t('sidebar.localOnly')),
        h('div', { class: 'line' },
          button(t('prefs.exportAll'), { icon: 'export', disabled: isBlocked, onclick: () => attempt(async () => download('matou-conversations.json', await store.export(), 'application/json')) }),
          button(t('prefs.import'), { icon: 'import', disabled: isBlocked, onclick: () => file.click() }), file,
          button(t('prefs.deleteAll'), { icon: 'trash', disabled: isBlocked, onclick: () => deleteAll() }))),
      state.session.needs_key && h('div', {}, button(t('signOut'), { icon: 'signout', onclick: () => { close(); signOut(); } })),
    ],
  });
}

async function importFile(input, imported) {
  const [file] = input.files;
  input.value = '';
  if (!file) return;
  await attempt(async () => {
    let given;
    try { given = JSON.parse(await file.text()); } catch { throw new Error(t('prefs.notJson')); }
    if (!Array.isArray(given?.conversations) && !Array.isArray(given?.messages)) throw new Error(t('prefs.notJson'));
    const { imported: n = 0 } = await store.import(given) ?? {};
    toast(t('prefs.imported', { n }));
    imported();
  });
}

async function deleteAll() {
  if (!await confirm({ title: t('prefs.deleteAllTitle'), text: t('prefs.deleteAllText'), yes: t('prefs.deleteAll') })) return;
  await attempt(async () => {
    await store.deleteAll();
    emit('deleted', 'all');
    toast(t('prefs.deletedAll'));
  });
}
