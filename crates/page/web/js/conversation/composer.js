// Where one writes: the text, the model, what is left of the context, send and stop.

import { debounce, fill, h, icon, iconButton, isTouch } from '../dom.js';
import { number, percent, short, t, tNodes } from '../i18n.js';
import { displayName, maxLen, statusOf } from '../models.js';
import { on, owned, read, state, write } from '../state.js';
import { store } from '../store/index.js';
import { toast } from '../overlay.js';
import { readFiles, withFiles } from './attach.js';
import { compareChip } from './compare.js';

const draftKey = (id) => owned(`draft.${id ?? 'new'}`);

/** The server has this text: from now on, what it has is what holds, for it may be sent from elsewhere. */
function saved(id, draft) {
  const kept = read(draftKey(id), null);
  if (kept?.text === draft) write(draftKey(id), { ...kept, saved: true });
}

/** What was begun here or elsewhere, whichever is newer. */
function draftOf({ id, meta }) {
  const there = meta.draft ?? '';
  const here = read(draftKey(id), null);
  if (typeof here?.text !== 'string') return there;
  if (here.saved || (there && here.at < (meta.updated_at ?? 0) * 1000)) return there;
  return here.text;
}

export class Composer {
  other = null;
  #files = [];
  /** The files of conversations that were left, until the page is. */
  #kept = new Map();
  #sending = false;

  /** `does`: send(text, other), stop(), pickModel(anchor), compare(anchor), editLast(). */
  constructor(does) {
    this.does = does;
    this.text = h('textarea', { class: 'composer-text', testid: 'composer', rows: 1, dir: 'auto', 'aria-label': t('composer.label'), placeholder: t('composer.placeholder'), enterkeyhint: isTouch() ? 'enter' : 'send', autocomplete: 'off' });
    this.sendButton = iconButton('send', t('composer.send'), { class: 'send', testid: 'send', disabled: true, onclick: () => this.send() });
    this.stopButton = iconButton('stop', t('composer.stop'), { class: 'send stop', testid: 'stop', hidden: true, onclick: () => does.stop() });
    this.modelButton = h('button', { type: 'button', class: 'model-button', testid: 'model-picker', 'aria-haspopup': 'dialog', onclick: (event) => does.pickModel(event.currentTarget) });
    this.compareButton = iconButton('columns', t('compare.button'), { testid: 'compare', 'aria-haspopup': 'dialog', onclick: (event) => this.#compare(event.currentTarget) });
    this.filePicker = h('input', { type: 'file', multiple: true, class: 'visually-hidden', testid: 'attach-file', tabindex: '-1', 'aria-hidden': 'true', onchange: () => this.#picked() });
    this.attachButton = iconButton('attach', t('attach.button'), { testid: 'attach', onclick: () => this.filePicker.click() });
    this.fileList = h('ul', { class: 'files', 'aria-label': t('attach.list'), hidden: true });
    this.meter = h('div', { class: 'meter', testid: 'context-meter', role: 'meter', 'aria-label': t('meter.label'), 'aria-valuemin': 0, 'aria-valuemax': 100, hidden: true });
    this.chip = h('div', { class: 'chip', hidden: true });
    this.element = h('form', { class: 'composer', 'aria-label': t('composer.form'), onsubmit: (event) => { event.preventDefault(); this.send(); } },
      h('div', { class: 'composer-card' }, this.chip, this.fileList, this.text,
        h('div', { class: 'composer-row' }, this.modelButton, this.attachButton, this.filePicker, this.compareButton, h('span', { class: 'space' }), this.meter, this.sendButton, this.stopButton)));
    this.text.addEventListener('input', () => this.#typed());
    this.text.addEventListener('keydown', (event) => this.#key(event));
    this.text.addEventListener('paste', (event) => {
      const { files } = event.clipboardData ?? {};
      // Programs put a picture beside a text: the text is what is meant.
      if (!files?.length || event.clipboardData.types.includes('text/plain')) return;
      event.preventDefault();
      this.attach(files);
    });
    this.#saveDraft = debounce((id, draft) => store.update(id, { draft }).then(() => saved(id, draft)).catch(() => {}), 1500);
    on('status', () => this.update());
    on('offline', () => this.update());
    on('prefs', () => this.update());
    addEventListener('pagehide', () => this.#saveDraft.now());
  }

  #saveDraft;

  /** Turns to another conversation; what was written there stays there. */
  show(chat, mayFocus = true) {
    this.#saveDraft.now();
    if (this.chat) this.#kept.set(this.chat.id, this.#files);
    const isFirst = !this.chat;
    this.chat = chat;
    this.other = null;
    this.text.value = draftOf(chat);
    this.#files = this.#kept.get(chat.id) ?? [];
    this.#showFiles();
    this.#fit();
    this.update();
    if (!mayFocus) return;
    if (!isTouch()) this.text.focus({ preventScroll: true });
    else if (!isFirst) this.does.focusConversation();
  }

  /** The button that stops while there is something to stop; else the text, but for no keyboard on a phone. */
  focus() {
    if (this.chat.busy) this.stopButton.focus();
    else if (!isTouch()) this.text.focus({ preventScroll: true });
    else this.does.focusConversation();
  }

  async #picked() {
    const files = [...this.filePicker.files];
    this.filePicker.value = '';
    await this.attach(files);
  }

  /** Takes text files along; what is none is named. */
  async attach(list) {
    const { chat } = this;
    const used = this.#files.reduce((sum, { size }) => sum + size, 0);
    const { files, refused } = await readFiles(list, used);
    if (chat !== this.chat) return;
    this.#files = [...this.#files, ...files];
    for (const [why, name] of refused) toast(t(`attach.${why}`, { name }), 'error');
    this.#showFiles();
    this.#updateSend();
    if (files.length && !isTouch()) this.text.focus();
  }

  #showFiles() {
    this.fileList.hidden = !this.#files.length;
    fill(this.fileList, this.#files.map((file) => h('li', { class: 'chip', testid: 'attached' }, h('bdi', {}, file.name),
      iconButton('close', t('attach.remove', { name: file.name }), { class: 'small', onclick: () => {
        this.#files = this.#files.filter((each) => each !== file);
        this.#showFiles();
        this.#updateSend();
        this.text.focus();
      } }))));
  }

  /** Puts a text in, an example for instance. */
  set(text) {
    this.text.value = text;
    this.#typed();
    this.text.focus();
  }

  #typed() {
    const { id } = this.chat;
    const draft = this.text.value;
    write(draftKey(id), draft || id ? { text: draft, at: Date.now() } : null);
    if (id && !state.offline) { this.chat.meta.draft = draft; this.#saveDraft(id, draft); }
    this.#fit();
    this.#updateSend();
  }

  #fit() {
    if (CSS.supports('field-sizing', 'content')) return;
    this.text.style.height = 'auto';
    this.text.style.height = `${this.text.scrollHeight}px`;
  }

  #key(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === 'Enter') {
      const command = event.ctrlKey || event.metaKey;
      const sends = state.prefs.enterSends && !isTouch() ? !event.shiftKey : command;
      if (sends || command) { event.preventDefault(); this.send(); }
    } else if (event.key === 'ArrowUp' && !this.text.value && !event.shiftKey) {
      if (this.does.editLast()) event.preventDefault();
    }
  }

  async send() {
    const typed = this.text.value.trim();
    const files = this.#files;
    const text = withFiles(typed, files);
    if (!text || this.#sending || this.chat.busy || state.offline) return;
    const { chat } = this;
    const before = draftKey(chat.id);
    this.#sending = true;
    this.#updateSend();
    try {
      await this.does.send(text, this.other);
      // Only what was sent is cleared: one may have gone on writing meanwhile.
      write(before, null);
      this.#saveDraft.cancel();
      if (this.chat === chat && this.text.value.trim() === typed) this.text.value = '';
      if (this.chat === chat) { this.#files = this.#files.filter((file) => !files.includes(file)); this.#showFiles(); }
      this.#kept.delete(chat.id);
      if (chat.meta.draft) { chat.meta.draft = ''; store.update(chat.id, { draft: '' }).catch(() => {}); }
      this.other = null;
    } catch { /* said by the page; the text is still there */ }
    this.#sending = false;
    this.#fit();
    this.update();
  }

  async #compare(anchor) {
    if (this.other) this.other = null;
    else this.other = await this.does.chooseOther(anchor);
    this.update();
    this.text.focus();
  }

  update() {
    if (!this.chat) return;
    const name = this.chat.model;
    const status = statusOf(name);
    fill(this.modelButton,
      h('span', { class: `status-dot ${status.value ?? ''}`, 'aria-hidden': 'true' }),
      h('span', { class: 'visually-hidden' }, t('model.pick')),
      h('bdi', { class: 'model-name' }, displayName(name) || t('model.none')),
      status.value === 'loading' && h('span', { class: 'model-progress' }, percent(status.progress ?? 0)),
      icon('chevron'));
    compareChip(this.chip, this.other, () => { this.other = null; this.update(); this.text.focus(); });
    this.compareButton.setAttribute('aria-pressed', String(Boolean(this.other)));
    this.#updateMeter(name);
    this.#updateSend();
  }

  #updateMeter(name) {
    const most = maxLen(name);
    const { used } = this.chat;
    this.meter.hidden = !most || !used;
    if (this.meter.hidden) return;
    const share = Math.min(1, used / most);
    const text = t('meter.text', { used: number(used), most: number(most), left: number(Math.max(0, most - used)) });
    this.meter.setAttribute('aria-valuenow', String(Math.round(share * 100)));
    this.meter.setAttribute('aria-valuetext', text);
    this.meter.title = text;
    this.meter.classList.toggle('is-high', share > 0.85);
    const bar = h('span', { class: 'meter-bar' }, h('span'));
    bar.firstChild.style.inlineSize = `${Math.max(2, share * 100)}%`;
    fill(this.meter, h('span', { class: 'meter-text', 'aria-hidden': 'true' }, tNodes('meter.short', { used: short(used), most: short(most) })), bar);
  }

  #updateSend() {
    const busy = this.chat.busy;
    const focused = document.activeElement === this.sendButton || document.activeElement === this.stopButton;
    this.sendButton.hidden = busy;
    this.stopButton.hidden = !busy;
    this.sendButton.disabled = state.offline || this.#sending || !(this.text.value.trim() || this.#files.length);
    this.compareButton.disabled = state.offline;
    this.text.setAttribute('placeholder', state.offline ? t('composer.offline') : t('composer.placeholder'));
    if (focused) (busy ? this.stopButton : this.text).focus();
  }
}
