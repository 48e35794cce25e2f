// The door: a key, once. Also the one-time link of another device (`/#login=TOKEN`).

import { ApiError, json } from '../api.js';
import { fill, h } from '../dom.js';
import { t } from '../i18n.js';
import { emit, state, takeSession } from '../state.js';

export async function signIn(given) {
  const session = await json('/session', { method: 'POST', body: given });
  takeSession({ signed_in: true, ...session });
  emit('session');
}

export async function signOut() {
  await json('/session', { method: 'DELETE' });
  state.session = { ...state.session, signed_in: false };
}

let promise = null;

/** Shows the screen and settles when somebody has signed in. One screen at a time. */
export function askForKey(message = '') {
  promise ??= new Promise((resolve) => {
    const key = h('input', { class: 'input', id: 'sign-in-key', testid: 'sign-in-key', type: 'password', autocomplete: 'current-password', required: true, autocapitalize: 'off', spellcheck: 'false', 'aria-describedby': 'sign-in-note' });
    const note = h('p', { class: 'note', id: 'sign-in-note', role: 'alert' }, message);
    const submit = h('button', { type: 'submit', class: 'button primary wide', testid: 'sign-in' }, t('signIn'));
    const send = async (event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        await signIn({ key: key.value.trim() });
        isOver = true;
        screen.remove();
        document.body.classList.remove('is-signed-out');
        promise = null;
        resolve();
      } catch (error) {
        note.textContent = signInError(error);
        note.classList.add('error-text');
        key.focus();
        key.select();
      }
      submit.disabled = false;
    };
    let isOver = false;
    // The browser's own dialog: it stands above whatever else is open, which is there again afterwards.
    const screen = h('dialog', {
      class: 'sign-in', 'aria-labelledby': 'sign-in-title', oncancel: (event) => event.preventDefault(),
      onclose: () => { if (!isOver && screen.isConnected) screen.showModal(); },
    },
      h('form', { class: 'sign-in-card', onsubmit: send },
        h('img', { src: '/page/icons/mark.svg', alt: '', width: 64, height: 64 }),
        h('h2', { id: 'sign-in-title' }, t('signIn.title')),
        h('p', { class: 'note' }, t('signIn.explain')),
        h('label', { class: 'field' }, h('span', {}, t('signIn.key')), key),
        note, submit));
    fill(document.getElementById('door'), screen);
    document.body.classList.add('is-signed-out');
    screen.showModal();
    key.focus();
  });
  return promise;
}

export function signInError(error) {
  if (error instanceof ApiError && error.status === 401) return t('signIn.wrong');
  if (error instanceof ApiError && error.status === 429) return t('signIn.tooMany', { n: error.retryAfter || 60 });
  if (error?.name === 'NetworkError') return t('error.network');
  return error?.message ?? t('error.unknown');
}
