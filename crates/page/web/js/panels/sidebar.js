// The history at the side (on a phone, a drawer): groups by date, folders, search, and the way to the
// other screens.

import { debounce, fill, h, icon, iconButton, isNarrow, isTouch } from '../dom.js';
import { group } from '../dates.js';
import { date, t } from '../i18n.js';
import { errorText, menu } from '../overlay.js';
import { on, setPref, state } from '../state.js';
import { store } from '../store/index.js';
import { conversationMenu } from './conversation-menu.js';

const PAGE = 50;

export class Sidebar {
  #items = [];
  #more = false;
  #last = null;
  #query = '';
  #folder = null;
  #folders = [];
  #turn = 0;
  #loading = false;
  #watcher;
  #isStale = false;
  #rows = new Map();

  /** `open` has what the foot's buttons do: personas, preferences, phone, help, signOut. */
  constructor(open) {
    this.search = h('input', { class: 'input', type: 'search', testid: 'search', placeholder: t('sidebar.search'), 'aria-label': t('sidebar.search'), autocomplete: 'off', spellcheck: 'false', dir: 'auto' });
    this.folderRow = h('div', { class: 'folders', role: 'group', 'aria-label': t('sidebar.folders') });
    this.status = h('p', { class: 'note sidebar-note', role: 'status' });
    this.list = h('div', { class: 'history' });
    this.sentinel = h('div', { class: 'sentinel' });
    this.scroll = h('div', { class: 'history-scroll', tabindex: '-1' }, this.folderRow, this.status, this.list, this.sentinel);
    this.foot = h('div', { class: 'sidebar-foot' });
    this.element = h('nav', { class: 'sidebar', id: 'sidebar', 'aria-label': t('sidebar.label') },
      h('div', { class: 'sidebar-head' },
        h('div', { class: 'search-field' }, icon('search'), this.search)),
      this.scroll, this.foot);
    this.scrim = h('div', { class: 'scrim', onclick: () => this.close() });
    this.open = open;
    this.#buildFoot();
    const searched = debounce(() => { this.#query = this.search.value.trim(); this.reload(); }, 160);
    this.search.addEventListener('input', searched);
    this.element.addEventListener('keydown', (event) => this.#key(event));
    this.element.addEventListener('beforetoggle', (event) => { if (event.newState === 'closed') setTimeout(() => { if (this.#isStale) this.#render(); }); }, true);
    this.#watcher = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) this.#next(); }, { root: this.scroll, rootMargin: '600px' });
    this.#watcher.observe(this.sentinel);
    on('created', () => this.reload());
    on('changed', () => this.reload());
    on('touched', debounce(() => { if (!this.#query) this.reload(); }, 400));
    on('opened', () => this.#markCurrent());
    on('offline', () => { this.#buildFoot(); this.reload(); });
    on('session', () => this.#buildFoot());
    matchMedia('(max-width: 48rem)').addEventListener('change', () => this.apply());
    this.#drawerOpen = false;
    this.apply();
  }

  #drawerOpen;

  get folders() { return this.#folders; }

  get isOpen() { return isNarrow() ? this.#drawerOpen : state.prefs.sidebar; }

  toggle(to = !this.isOpen) {
    if (isNarrow()) this.#drawerOpen = to;
    else setPref('sidebar', to);
    this.apply();
    // A keyboard that comes up by itself would hide half of the list.
    if (to && isNarrow()) (isTouch() ? this.scroll : this.search).focus({ preventScroll: true });
  }

  close() {
    if (!isNarrow() || !this.#drawerOpen) return false;
    this.toggle(false);
    document.getElementById('sidebar-toggle')?.focus();
    return true;
  }

  apply() {
    const open = this.isOpen;
    document.body.classList.toggle('has-sidebar', open);
    this.element.inert = !open;
    for (const id of ['top', 'main']) { const part = document.getElementById(id); if (part) part.inert = isNarrow() && open; }
    document.getElementById('sidebar-toggle')?.setAttribute('aria-expanded', String(open));
  }

  focusSearch() {
    if (!this.isOpen) this.toggle(true);
    this.search.focus();
    this.search.select();
  }

  #buildFoot() {
    const { open } = this;
    const item = (name, label, action, testid) => h('button', { type: 'button', class: 'foot-item', testid, onclick: action }, icon(name), h('span', {}, label));
    fill(this.foot,
      state.session.history === false && h('p', { class: 'note foot-note' }, t('sidebar.localOnly')),
      item('mask', t('personas.title'), open.personas, 'personas'),
      item('phone', t('phone.title'), open.phone, 'phone'),
      item('gear', t('prefs.title'), open.preferences, 'preferences'),
      h('div', { class: 'foot-row' },
        item('help', t('help.short'), open.help, 'help'),
        state.session.needs_key && item('signout', t('signOut'), open.signOut, 'sign-out')));
  }

  #key(event) {
    if (event.key === 'Escape') {
      if (this.search.value && document.activeElement === this.search) {
        this.search.value = '';
        this.#query = '';
        this.reload();
      } else if (!this.close()) return;
      event.stopPropagation();
      return;
    }
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const links = [...this.list.querySelectorAll('.history-item')];
    const at = links.indexOf(document.activeElement);
    if (at === -1 && document.activeElement !== this.search) return;
    event.preventDefault();
    const to = event.key === 'ArrowDown' ? at + 1 : at - 1;
    (to < 0 ? this.search : links[Math.min(to, links.length - 1)])?.focus();
  }

  /** Reads the list anew: as much of it as was shown. */
  async reload() {
    const turn = this.#turn += 1;
    const limit = Math.min(200, Math.max(PAGE, this.#query ? PAGE : this.#items.length));
    try {
      const list = await store.list({ limit, folder: this.#folder, q: this.#query });
      if (turn !== this.#turn) return;
      this.#items = list.data ?? [];
      this.#take(list);
      this.#render();
      this.status.textContent = this.#items.length ? '' : this.#query ? t('sidebar.nothing') : t('sidebar.empty');
      if (this.#query && this.#items.length) this.status.textContent = t('sidebar.found', { n: this.#items.length });
    } catch (error) {
      if (turn === this.#turn && error?.status !== 401) this.status.textContent = errorText(error);
    }
  }

  #take(list) {
    this.#more = Boolean(list.has_more);
    this.#last = list.last_id ?? this.#items.at(-1)?.id ?? null;
    this.#folders = list.folders ?? this.#folders;
    if (this.#folder && !this.#folders.includes(this.#folder)) this.#folder = null;
  }

  async #next() {
    if (!this.#more || this.#loading) return;
    const turn = this.#turn;
    this.#loading = true;
    try {
      const list = await store.list({ limit: PAGE, after: this.#last, folder: this.#folder, q: this.#query });
      if (turn === this.#turn) {
        const known = new Set(this.#items.map((item) => item.id));
        this.#items.push(...(list.data ?? []).filter((item) => !known.has(item.id)));
        this.#take(list);
        this.#render();
      }
    } catch { this.#more = false; }
    this.#loading = false;
    // Observed anew, it tells once more whether there is still room: on a tall screen there is.
    this.#watcher.unobserve(this.sentinel);
    this.#watcher.observe(this.sentinel);
  }

  #render() {
    // Nothing moves under an open menu.
    if (this.element.querySelector('.menu')) { this.#isStale = true; return; }
    this.#isStale = false;
    const active = document.activeElement;
    const at = this.list.contains(active) ? [...this.list.querySelectorAll('li[data-id]')].findIndex((row) => row.contains(active)) : -1;
    const focused = at === -1 ? null : active.closest('[data-id]').dataset.id;
    const part = active?.classList.contains('item-more') ? '.item-more' : 'a';
    const groups = this.#query ? [{ key: 'results', items: this.#items }] : group(this.#items);
    fill(this.list, groups.filter((each) => each.items.length).map((each) => {
      const label = each.month ? date(each.month, { month: 'long', year: 'numeric' }) : t(`group.${each.key}`);
      return h('section', { class: 'group' }, h('h2', {}, label), h('ul', {}, each.items.map((item) => this.#item(item))));
    }));
    const chip = (label, value) => h('button', { type: 'button', class: 'folder', 'aria-pressed': String(this.#folder === value), onclick: () => { this.#folder = value; this.reload(); } }, h('bdi', {}, label));
    this.folderRow.hidden = !this.#folders.length;
    fill(this.folderRow, chip(t('sidebar.all'), null), this.#folders.map((name) => chip(name, name)));
    this.#markCurrent();
    if (at === -1) return;
    // In place of a conversation that is gone, the next one has the focus.
    const rows = [...this.list.querySelectorAll('li[data-id]')];
    const row = rows.find((each) => each.dataset.id === focused);
    (row?.querySelector(part) ?? rows[Math.min(at, rows.length - 1)]?.querySelector('a') ?? this.search).focus();
  }

  /** The row of a conversation: the same one while there is nothing new to show, so that focus comes back to it. */
  #item(item) {
    const key = JSON.stringify([item, this.#folder, this.#folders, state.offline]);
    const known = this.#rows.get(item.id);
    if (known?.key === key) return known.row;
    const row = this.#makeRow(item);
    this.#rows.set(item.id, { key, row });
    return row;
  }

  #makeRow(item) {
    const href = `#/c/${encodeURIComponent(item.id)}${item.snippet?.message_id ? `/${encodeURIComponent(item.snippet.message_id)}` : ''}`;
    const more = iconButton('more', t('conversation.menu', { title: item.title || t('untitled') }), {
      class: 'small item-more', 'aria-haspopup': 'menu', 'aria-expanded': 'false',
      onclick: (event) => menu(event.currentTarget, conversationMenu(item, this.#folders)),
    });
    return h('li', { data: { id: item.id } },
      h('a', { class: 'history-item', testid: 'history-item', href, onclick: () => { if (isNarrow()) this.toggle(false); } },
        h('span', { class: 'item-title' }, item.pinned && icon('pin'), h('bdi', {}, item.title || t('untitled'))),
        item.snippet?.text && h('span', { class: 'snippet', dir: 'auto' }, marked(item.snippet)),
        !item.snippet && item.folder && !this.#folder && h('span', { class: 'item-folder' }, icon('folder'), h('bdi', {}, item.folder))),
      more);
  }

  #markCurrent() {
    const id = this.current?.() ?? null;
    for (const item of this.list.querySelectorAll('li[data-id]')) {
      const is = item.dataset.id === id;
      item.classList.toggle('is-current', is);
      const link = item.querySelector('a');
      if (is) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
  }
}

/** A snippet with what was found marked. Positions that make no sense are left out. */
function marked({ text, matches = [] }) {
  const out = [];
  let at = 0;
  for (const [start, end] of matches) {
    if (!(start >= at && end > start && end <= text.length)) continue;
    out.push(text.slice(at, start), h('mark', {}, text.slice(start, end)));
    at = end;
  }
  return [...out, text.slice(at)];
}

