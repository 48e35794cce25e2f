// The keys of the whole page. The list is what the help shows.

import { t } from './i18n.js';

const isMac = /Mac|iP(hone|ad)/.test(navigator.userAgent);
const command = isMac ? '⌘' : 'Ctrl';

/** [keys, what they do], for the help. */
export const listed = (enterSends) => [
  [enterSends ? [t('key.enter')] : [command, t('key.enter')], t('keys.send')],
  [enterSends ? [t('key.shift'), t('key.enter')] : [t('key.enter')], t('keys.newline')],
  [[t('key.escape')], t('keys.stop')],
  [['↑'], t('keys.editLast')],
  [[command, 'K'], t('keys.search')],
  [[command, t('key.shift'), 'O'], t('keys.newChat')],
  [[command, t('key.shift'), 'S'], t('keys.sidebar')],
  [[command, t('key.shift'), 'M'], t('keys.model')],
  [[command, ','], t('keys.settings')],
  [['/'], t('keys.compose')],
  [[t('key.end')], t('keys.end')],
  [['?'], t('keys.help')],
];

export function shortcuts(app) {
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const inDialog = document.querySelector('dialog[open]');
    const target = event.target;
    const typing = target instanceof Element && target.closest('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape') {
      if (inDialog) return;
      if (!app.sidebar.close() && app.chat.busy) app.does.stop();
      return;
    }
    if (inDialog || document.body.classList.contains('is-signed-out')) return;
    const run = (task) => { event.preventDefault(); task(); };
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      const key = event.key.toLowerCase();
      if (!event.shiftKey && key === 'k') run(() => app.sidebar.focusSearch());
      else if (!event.shiftKey && key === ',') run(() => app.open.settings());
      else if (event.shiftKey && key === 'o') run(() => app.newChat());
      else if (event.shiftKey && key === 's') run(() => app.sidebar.toggle());
      else if (event.shiftKey && key === 'm') run(() => app.composer.modelButton.click());
      return;
    }
    if (typing || event.altKey) return;
    if (event.key === '?') run(() => app.open.help());
    else if (event.key === '/') run(() => app.composer.text.focus());
    else if (event.key === 'End') run(() => app.view.scroller.toEnd(true));
  });
}
