// Shows the path of a conversation: the newest messages at once, earlier ones as one scrolls up.

import { announce, fill, h, iconButton } from '../dom.js';
import { t, tNodes } from '../i18n.js';
import { describe, displayName, models } from '../models.js';
import { on } from '../state.js';
import { errorText } from '../overlay.js';
import { emptyState } from './empty.js';
import { errorBox, MessageView, waiting } from './message.js';
import { pairView } from './compare.js';
import { Scroller } from './scroller.js';

const AT_ONCE = 40;

export class ConversationView {
  #views = new Map();
  #first = 0;
  #ends = [];
  #pending = null;
  #watcher;

  constructor(does) {
    this.does = does;
    this.list = h('div', { class: 'messages' });
    this.sentinel = h('div', { class: 'sentinel' });
    this.content = h('div', { class: 'column' }, this.sentinel, this.list);
    this.element = h('section', { class: 'conversation', 'aria-label': t('conversation'), tabindex: '0' }, this.content);
    this.jump = iconButton('down', t('jumpEnd'), { class: 'jump-end', testid: 'jump-end', hidden: true, onclick: () => { this.scroller.toEnd(true); } });
    this.notice = h('p', { class: 'ai-notice', testid: 'ai-notice' });
    this.scroller = new Scroller(this.element, this.content, (atEnd) => {
      const gap = atEnd ? 0 : this.scroller.gap;
      this.jump.hidden = atEnd || gap < 200;
    });
    this.#watcher = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) this.#earlier(); },
      { root: this.element, rootMargin: '800px 0px 0px 0px' });
    this.#watcher.observe(this.sentinel);
    on('status', () => this.#statusChanged());
    on('prefs', (name) => { if (name === 'stats') this.refresh(); });
    on('offline', () => this.refresh());
  }

  /** Shows a chat from the beginning of its life or of the page's. */
  show(chat, { messageId } = {}) {
    this.#leave();
    this.chat = chat;
    const listen = (name, task) => {
      const heard = (event) => task(event.detail);
      chat.addEventListener(name, heard);
      this.#ends.push(() => chat.removeEventListener(name, heard));
    };
    listen('path', () => this.#render());
    listen('message', (message) => this.#changed(message));
    listen('delta', ({ run, ...added }) => { this.#views.get(run.message.id)?.append(added); });
    listen('run', (run) => this.#runChanged(run));
    listen('meta', () => this.#updateNotice());
    this.#first = Math.max(0, chat.path.length - AT_ONCE);
    this.#render();
    this.scroller.toEnd();
    if (messageId) this.#reveal(messageId);
  }

  #leave() {
    for (const end of this.#ends) end();
    for (const view of this.#views.values()) view.destroy();
    this.#ends = [];
    this.#views.clear();
    this.#first = 0;
    this.list.replaceChildren();
  }

  #updateNotice() {
    // From the page's own words only: no card and no name can change what it says.
    fill(this.notice, tNodes('aiNotice', { model: noticeName(this.chat.model) }));
  }

  #view(message) {
    let view = this.#views.get(message.id);
    if (view && view.message !== message) { view.destroy(); view = null; }
    if (!view) {
      view = new MessageView(message, this.chat, this.does);
      this.#views.set(message.id, view);
    }
    return view;
  }

  /** Brings the list up to date with the path, keeping what stays. */
  #render() {
    const { chat } = this;
    const path = chat.path;
    const { pair } = chat;
    const isPair = pair && (pair.parent === null || path.some((message) => message.id === pair.parent));
    this.#updateNotice();
    document.body.classList.toggle('is-empty', !path.length && !chat.busy);
    if (this.#first >= path.length) this.#first = Math.max(0, path.length - AT_ONCE);
    const shown = path.slice(this.#first);
    const nodes = [];
    const keep = new Set();
    for (const message of shown) {
      if (isPair && message.parent === pair.parent && pair.ids.includes(message.id)) break;
      keep.add(message.id);
      const view = this.#view(message);
      nodes.push(view.element);
    }
    if (isPair) {
      const both = pair.ids.map((id) => chat.tree.byId.get(id)).filter(Boolean);
      for (const message of both) keep.add(message.id);
      nodes.push(pairView(chat, both.map((message) => this.#view(message)), this.does));
    } else {
      if (chat.failure) nodes.push(this.#failure());
      const unborn = [...chat.active].find((run) => !run.message);
      if (unborn) nodes.push(this.#pending = h('div', { class: 'message assistant pending', data: { testid: 'pending' } }, waiting(unborn.model)));
    }
    if (!path.length && !nodes.length) nodes.push(emptyState(chat, this.does));
    const focus = this.#focused();
    for (const [id, view] of this.#views) if (!keep.has(id)) { view.destroy(); this.#views.delete(id); }
    arrange(this.list, nodes);
    for (const id of keep) this.#views.get(id)?.update();
    if (focus) this.#refocus(focus);
  }

  /** Which button of which place has the focus, if one of a message has. */
  #focused() {
    const element = document.activeElement;
    if (!this.list.contains(element)) return null;
    return { testid: element.dataset?.testid ?? '', at: [...this.list.children].findIndex((child) => child.contains(element)) };
  }

  /** When what had the focus is gone, what stands in its place has it. */
  #refocus({ testid, at }) {
    if (this.list.contains(document.activeElement)) return;
    const place = this.list.children[at] ?? this.list.lastElementChild;
    const wanted = [`[data-testid="${CSS.escape(testid)}"]`, testid.startsWith('branch') && '.branches button', testid.startsWith('edit') && '[data-testid="edit"]', '.actions button'].filter(Boolean);
    const found = wanted.map((selector) => place?.querySelector(`${selector}:not(:disabled)`)).find(Boolean);
    if (found) found.focus({ preventScroll: true });
    else if (wanted.length) this.does.focusComposer();
  }

  #failure() {
    const { parent, error } = this.chat.failure;
    return h('div', { class: 'message assistant' }, errorBox(errorText(error), parent === undefined ? null : () => this.chat.answer(parent)));
  }

  #runChanged(run) {
    if (!run.message && !run.ended) this.#render();
    if (run.ended) {
      this.#render();
      if (run.message?.state === 'done') announce(t('announce.complete'));
      else if (run.message?.state === 'stopped') announce(t('announce.stopped'));
    }
    this.does.busyChanged();
  }

  #changed(message) {
    const view = this.#views.get(message.id);
    if (!view) return;
    view.reconnecting = [...this.chat.active].some((run) => run.message?.id === message.id && run.reconnecting);
    view.update();
  }

  #statusChanged() {
    if (!this.chat) return;
    this.#updateNotice();
    for (const view of this.#views.values()) view.tick();
    const unborn = [...this.chat.active].find((run) => !run.message);
    if (unborn && this.#pending?.isConnected) fill(this.#pending, waiting(unborn.model));
    if (!this.chat.path.length && !this.chat.busy) this.#render();
  }

  refresh() { if (this.chat) this.#render(); }

  #earlier() {
    if (!this.chat || this.#first === 0 || !this.list.childElementCount) return;
    const path = this.chat.path;
    const to = this.#first;
    this.#first = Math.max(0, to - AT_ONCE);
    const anchor = this.list.firstElementChild;
    const views = path.slice(this.#first, to).map((message) => this.#view(message).element);
    this.scroller.holding(anchor, () => this.list.prepend(...views));
    // Observed anew, it tells once more whether there is still room above.
    this.#watcher.unobserve(this.sentinel);
    this.#watcher.observe(this.sentinel);
  }

  /** Scrolls to a message that was found, loading what lies between. */
  #reveal(id) {
    const at = this.chat.path.findIndex((message) => message.id === id);
    if (at === -1) return;
    if (at < this.#first) { this.#first = Math.max(0, at - 5); this.#render(); }
    const view = this.#views.get(id);
    if (!view) return;
    this.scroller.leave();
    view.element.scrollIntoView({ block: 'start' });
    view.element.classList.add('is-found');
    setTimeout(() => view.element.classList.remove('is-found'), 2500);
  }

  viewOf(id) { return this.#views.get(id); }
}

/** The model behind a name, for the notice: a persona is named with the model that speaks for it. */
function noticeName(name) {
  const { kind, model, persona } = describe(name);
  if (kind !== 'persona') return name || models()[0]?.name || '';
  return model?.name ?? persona.parent ?? persona.model ?? displayName(name);
}

/** Makes an element hold exactly these nodes in this order, moving as few as possible. */
function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  let at = list.firstElementChild;
  for (const node of nodes) {
    if (node === at) at = at.nextElementSibling;
    else list.insertBefore(node, at);
  }
}

