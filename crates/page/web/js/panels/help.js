// All keys at a glance.

import { h } from '../dom.js';
import { t } from '../i18n.js';
import { openDialog } from '../overlay.js';
import { listed } from '../shortcuts.js';
import { state } from '../state.js';

export function openHelp() {
  openDialog({
    title: t('help.title'), testid: 'help-dialog',
    body: [
      h('dl', { class: 'keys' }, listed(state.prefs.enterSends).map(([keys, what]) => [
        h('dt', {}, keys.map((key) => h('kbd', {}, key))), h('dd', {}, what)])),
      h('p', { class: 'note' }, t('help.about', { version: state.session.version ?? state.status?.version ?? '' })),
    ],
  });
}
