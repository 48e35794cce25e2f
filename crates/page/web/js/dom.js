// Builds elements. Text is only ever text: there is no way to pass HTML, a style attribute or a
// handler in an attribute, which the page's policy forbids anyway.

import { PATHS } from './icons.js';

const SVG = 'http://www.w3.org/2000/svg';
const AS_PROPERTY = new Set(['value', 'checked', 'disabled', 'open', 'hidden', 'selected', 'indeterminate', 'inert']);
const FORBIDDEN = new Set(['style', 'srcdoc']);

/** h('button', { class, testid, data: {…}, onclick, 'aria-label' }, ...children) */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (FORBIDDEN.has(name)) throw new TypeError(`Attribute not allowed: ${name}`);
    if (name === 'class') element.className = value;
    else if (name === 'testid') element.dataset.testid = value;
    else if (name === 'data') setData(element, value);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (AS_PROPERTY.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  add(element, children);
  return element;
}

function setData(element, data) {
  for (const [name, value] of Object.entries(data)) {
    if (value !== undefined && value !== null) element.dataset[name] = value;
  }
}

/** Appends nodes and texts, arrays of them too; what is missing is left out. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** A line icon. It says nothing to screen readers: its button has a label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  for (const d of PATHS[name] ?? []) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}

/** A button that shows an icon only; the label is its tooltip and its name. */
export function iconButton(name, label, props = {}) {
  const { class: more = '', ...rest } = props;
  return h('button', { type: 'button', class: `icon-button ${more}`.trim(), 'aria-label': label, title: label, ...rest }, icon(name));
}

/** A button with a text and perhaps an icon. */
export function button(label, props = {}) {
  const { icon: name, class: more = '', ...rest } = props;
  return h('button', { type: 'button', class: `button ${more}`.trim(), ...rest }, name && icon(name), h('span', {}, label));
}

/** Says something to screen readers, politely. */
export function announce(text) {
  // What lies outside of an open dialog is not heard: each has a region of its own.
  const region = [...document.querySelectorAll('dialog[open] > .announcer')].at(-1) ?? document.getElementById('announcer');
  if (!region) return;
  region.textContent = '';
  // A region that gets the same text twice says it once: it is emptied first, and filled later.
  setTimeout(() => { region.textContent = text; }, 60);
}

/** Calls `task` once things have been quiet for `ms`. `.now()` calls it at once if it waits. */
export function debounce(task, ms) {
  let timer = 0;
  let waiting = null;
  const run = () => { const args = waiting; clearTimeout(timer); waiting = null; if (args) task(...args); };
  const later = (...args) => { waiting = args; clearTimeout(timer); timer = setTimeout(run, ms); };
  later.now = run;
  later.cancel = () => { clearTimeout(timer); waiting = null; };
  return later;
}

/** Whether the reader's first pointer is a finger: no focus by itself then, which would open the keyboard. */
export const isTouch = () => matchMedia('(pointer: coarse)').matches;
export const isNarrow = () => matchMedia('(max-width: 48rem)').matches;

let lastId = 0;
export const uniqueId = (prefix) => `${prefix}-${++lastId}`;

/** Offers a text or blob as a file. */
export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Copies a text, on plain HTTP too, where the clipboard's own interface is missing. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'visually-hidden', 'aria-hidden': 'true', readonly: true });
    const before = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    let copied = false;
    try { copied = document.execCommand('copy'); } catch { /* reported by the result */ }
    area.remove();
    before?.focus?.();
    return copied;
  }
}
