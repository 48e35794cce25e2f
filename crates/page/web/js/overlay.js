// Dialogs, menus and short notices. Dialogs are the browser's own: they hold the focus and give it
// back. Menus are popovers with the keys of a menu.

import { announce, button, fill, h, icon, iconButton, isNarrow, uniqueId } from './dom.js';
import { t } from './i18n.js';

/** Opens a dialog. `kind` is a class: sheet (default), side, small. Gives { dialog, close, body }. */
export function openDialog({ title, body = [], actions = [], kind = 'sheet', testid, onclose, anchor }) {
  const id = uniqueId('dialog');
  const dialog = h('dialog', { class: `dialog ${kind}`, 'aria-labelledby': id, testid });
  const content = h('div', { class: 'dialog-body' }, body);
  const close = () => dialog.close();
  fill(dialog,
    h('div', { class: 'dialog-head' },
      h('h2', { id, tabindex: '-1' }, title),
      iconButton('close', t('close'), { onclick: close })),
    content,
    actions.length > 0 && h('div', { class: 'dialog-actions' }, actions),
    h('div', { class: 'announcer visually-hidden', role: 'status' }));
  // A click on the backdrop is a click on the dialog itself, outside its box.
  let pressedOutside = false;
  const outside = (event) => {
    const box = dialog.getBoundingClientRect();
    return event.target === dialog && (event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom);
  };
  dialog.addEventListener('pointerdown', (event) => { pressedOutside = outside(event); });
  dialog.addEventListener('click', (event) => { if (pressedOutside && outside(event)) close(); });
  dialog.addEventListener('close', () => { dialog.remove(); onclose?.(); });
  document.body.append(dialog);
  dialog.showModal();
  if (anchor && !isNarrow()) place(dialog, anchor);
  const first = dialog.querySelector('[autofocus]') ?? dialog.querySelector('h2');
  first.focus({ preventScroll: true });
  return { dialog, close, body: content };
}

/** Puts an open dialog or menu beside what opened it, inside the window. */
function place(element, anchor) {
  const from = anchor.getBoundingClientRect();
  const box = element.getBoundingClientRect();
  const margin = 8;
  const above = from.top - box.height - margin;
  const below = from.bottom + margin;
  const fits = below + box.height <= innerHeight - margin;
  const top = fits || above < margin ? Math.min(below, innerHeight - box.height - margin) : above;
  const rtl = getComputedStyle(document.documentElement).direction === 'rtl';
  const wanted = rtl ? from.right - box.width : from.left;
  element.style.position = 'fixed';
  element.style.inset = 'auto';
  element.style.margin = '0';
  element.style.top = `${Math.max(margin, top)}px`;
  element.style.left = `${Math.min(Math.max(margin, wanted), innerWidth - box.width - margin)}px`;
}

/** Asks yes or no. */
export function confirm({ title, text, yes, danger = true }) {
  return new Promise((resolve) => {
    let answer = false;
    const say = (value) => () => { answer = value; close(); };
    const { close } = openDialog({
      title, kind: 'small', testid: 'confirm-dialog',
      body: h('p', {}, text),
      actions: [
        // What cannot be undone is not one key away.
        button(t('cancel'), { autofocus: danger, onclick: say(false) }),
        button(yes, { class: danger ? 'danger' : 'primary', testid: 'confirm', autofocus: !danger, onclick: say(true) }),
      ],
      onclose: () => resolve(answer),
    });
  });
}

/** Asks for a line of text; null if it was cancelled. */
export function prompt({ title, label, value = '', yes = t('save'), suggestions = [] }) {
  return new Promise((resolve) => {
    let answer = null;
    const list = uniqueId('list');
    const input = h('input', { class: 'input', type: 'text', value, autofocus: true, maxlength: 300, dir: 'auto', autocomplete: 'off', list: suggestions.length ? list : undefined });
    const form = h('form', { onsubmit: (event) => { event.preventDefault(); answer = input.value.trim(); close(); } },
      h('label', { class: 'field' }, h('span', {}, label), input),
      suggestions.length > 0 && h('datalist', { id: list }, suggestions.map((each) => h('option', { value: each }))),
      h('div', { class: 'dialog-actions' }, button(t('cancel'), { onclick: () => close() }), h('button', { class: 'button primary', type: 'submit' }, yes)));
    const { close } = openDialog({ title, kind: 'small', body: form, onclose: () => resolve(answer) });
    input.select();
  });
}

/** Opens a menu beside its button. Items: { label, icon, action, danger, checked } or null for a line. */
export function menu(anchor, items, label = anchor.getAttribute('aria-label')) {
  const options = items.map((item) => item && h('button', {
    type: 'button', class: item.danger ? 'menu-item danger' : 'menu-item', tabindex: '-1', testid: item.testid,
    role: item.checked === undefined ? 'menuitem' : 'menuitemradio', 'aria-checked': item.checked === undefined ? undefined : String(item.checked),
    onclick: () => { element.hidePopover(); item.action(); },
  }, item.icon && icon(item.checked ? 'check' : item.icon), h('span', { dir: 'auto' }, item.label)));
  const element = h('div', { class: 'menu', role: 'menu', popover: 'auto', 'aria-label': label },
    options.map((option) => option ?? h('hr', { role: 'separator' })));
  const buttons = options.filter(Boolean);
  element.addEventListener('keydown', (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); buttons.at(to % buttons.length).focus(); }
    if (event.key === 'Tab') element.hidePopover();
    event.stopPropagation();
  });
  element.addEventListener('beforetoggle', (event) => {
    if (event.newState !== 'closed') return;
    const inside = element.contains(document.activeElement) || document.activeElement === document.body;
    anchor.setAttribute('aria-expanded', 'false');
    if (inside) anchor.focus();
    queueMicrotask(() => element.remove());
  });
  // Inside an open dialog, what lies outside of it cannot be reached.
  (anchor.closest('dialog, nav, header, main') ?? document.body).append(element);
  element.showPopover();
  place(element, anchor);
  anchor.setAttribute('aria-expanded', 'true');
  buttons[0]?.focus({ preventScroll: true });
}

/** A notice that goes by itself. Screen readers hear it. */
export function toast(text, kind = '') {
  const area = document.getElementById('toasts');
  const note = h('div', { class: `toast ${kind}`.trim(), dir: 'auto' }, text);
  area.append(note);
  if (document.querySelector('dialog[open] > .announcer')) announce(text);
  while (area.childElementCount > 2) area.firstChild.remove();
  area.hidePopover?.();
  area.showPopover?.();
  setTimeout(() => { note.remove(); if (!area.childElementCount) area.hidePopover?.(); }, kind === 'error' ? 7000 : 3000);
}

/** Runs something that may fail, and says so. */
export async function attempt(task) {
  try {
    return await task();
  } catch (error) {
    toast(errorText(error), 'error');
    return undefined;
  }
}

/** What went wrong, in the reader's language where the page knows it. */
export function errorText(error) {
  if (error?.name === 'NetworkError') return t('error.network');
  if (error?.status === 429) return t('error.busy');
  return error?.message || t('error.unknown');
}
