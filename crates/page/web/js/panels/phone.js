// A link and its picture for a phone: it signs the phone in, once.

import { button, copyText, fill, h } from '../dom.js';
import { post } from '../api.js';
import { date, t } from '../i18n.js';
import { errorText, openDialog, toast } from '../overlay.js';

export async function openPhone() {
  let picture = null;
  const body = h('div', { class: 'persona-page center' }, h('p', { class: 'note' }, t('inspect.loading')));
  openDialog({ title: t('phone.title'), kind: 'small', testid: 'phone-dialog', body, onclose: () => { if (picture) URL.revokeObjectURL(picture); } });
  try {
    const { url = '', expires_at: expires, qr } = await post('/session/links', {});
    // As a picture, an SVG runs no script and fetches nothing.
    if (qr) picture = URL.createObjectURL(new Blob([qr], { type: 'image/svg+xml' }));
    fill(body,
      h('p', {}, t('phone.explain')),
      picture && h('div', { class: 'qr' }, h('img', { src: picture, alt: t('phone.qr') })),
      h('p', { class: 'address', dir: 'ltr', testid: 'phone-link' }, url),
      h('div', { class: 'center' }, button(t('phone.copy'), { icon: 'copy', onclick: async () => toast(await copyText(url) ? t('copy.done') : t('copy.failed')) })),
      h('p', { class: 'note' }, url.includes('#login=') && expires ? t('phone.once', { when: date(expires, { timeStyle: 'short' }) }) : t('phone.open')),
      !url.startsWith('https:') && h('p', { class: 'note' }, t('phone.insecure')));
  } catch (error) {
    fill(body, h('p', { class: 'error-text' }, errorText(error)));
  }
}
