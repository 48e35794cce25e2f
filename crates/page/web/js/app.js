// The page as a whole: the shell, the address (#/c/ID, #/personas), and what buttons and keys do.

import { Chat } from './conversation/chat.js';
import { chooseOther } from './conversation/compare.js';
import { Composer } from './conversation/composer.js';
import { ConversationView } from './conversation/view.js';
import { DEFAULT_SYSTEM } from './fields.js';
import { copyText, debounce, fill, h, icon, iconButton, isNarrow } from './dom.js';
import { json } from './api.js';
import { t } from './i18n.js';
import { defaultModel, displayName, loadModel, refreshPersonas, refreshStatus, statusOf } from './models.js';
import { attempt, confirm, errorText, menu, toast } from './overlay.js';
import { conversationMenu } from './panels/conversation-menu.js';
import { openModels } from './panels/models.js';
import { Sidebar } from './panels/sidebar.js';
import { askForKey, signOut } from './panels/signin.js';
import { shortcuts } from './shortcuts.js';
import { emit, forgetUser, on, owned, read, state, write } from './state.js';
import { store } from './store/index.js';
import { contentText } from './tree.js';

/** A part of the address; one that is broken is taken as it stands. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

export class App {
  #turn = 0;
  #heard = new WeakSet();

  constructor() {
    // Loaded when it is first asked for.
    const later = (module, name) => (...args) => attempt(async () => (await module())[name](...args));
    this.open = {
      personas: () => later(() => import('./panels/personas.js'), 'openPersonas')({ chat: (persona, greeting) => this.chatWith(persona, greeting) }),
      preferences: () => later(() => import('./panels/preferences.js'), 'openPreferences')({ signOut: () => this.signOut(), imported: () => this.sidebar.reload() }),
      phone: later(() => import('./panels/phone.js'), 'openPhone'),
      help: later(() => import('./panels/help.js'), 'openHelp'),
      signOut: () => this.signOut(),
      settings: () => later(() => import('./panels/settings.js'), 'openSettings')(this.chat),
      inspect: (message) => later(() => import('./conversation/inspect.js'), 'openInspect')(this.chat, message),
    };
    this.does = this.#actions();
    this.sidebar = new Sidebar(this.open);
    this.sidebar.current = () => this.chat?.id;
    this.view = new ConversationView(this.does);
    this.composer = new Composer(this.does);
  }

  start() {
    this.title = h('span', { class: 'title-text', dir: 'auto' });
    this.titleButton = h('button', { type: 'button', class: 'title-button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', onclick: (event) => this.#titleMenu(event.currentTarget) }, this.title, icon('chevron'));
    const toggle = iconButton('menu', t('sidebar.toggle'), { id: 'sidebar-toggle', testid: 'sidebar-toggle', 'aria-controls': 'sidebar', onclick: () => this.sidebar.toggle() });
    this.settingsButton = iconButton('sliders', t('settings.title'), { testid: 'settings', 'aria-haspopup': 'dialog', onclick: () => this.open.settings() });
    const top = h('header', { class: 'top', id: 'top' }, toggle,
      iconButton('compose', t('newChat'), { testid: 'new-chat', onclick: () => this.newChat() }),
      h('h1', { class: 'title' }, this.titleButton),
      this.settingsButton);
    this.banner = h('div', { class: 'offline', testid: 'offline', role: 'status', hidden: !state.offline });
    const main = h('main', { class: 'main', id: 'main' }, this.banner, this.view.notice, this.view.element,
      h('div', { class: 'dock' }, this.view.jump, this.composer.element));
    const files = (event) => event.dataTransfer?.types.includes('Files') && !document.querySelector('dialog[open]');
    addEventListener('dragover', (event) => { if (files(event)) event.preventDefault(); });
    addEventListener('drop', (event) => {
      if (!files(event)) return;
      event.preventDefault();
      this.composer.attach([...event.dataTransfer.files]);
    });
    const skip = h('button', { type: 'button', class: 'skip button primary', onclick: () => this.composer.text.focus() }, t('skip'));
    fill(document.getElementById('app'), skip, this.sidebar.element, this.sidebar.scrim, top, main);
    this.sidebar.apply();
    document.body.classList.remove('is-booting');
    // What moves, moves when somebody asked for it, and not while the page comes up.
    setTimeout(() => document.body.classList.add('is-ready'), 500);
    on('offline', () => this.#banner());
    on('deleted', (id) => {
      // Whoever deletes from the list stays there.
      if (id === 'all' || id === this.chat?.id) this.newChat(undefined, !this.sidebar.list.contains(document.activeElement));
      this.sidebar.reload();
    });
    on('changed', (meta) => {
      if (meta.id !== this.chat?.id) return;
      this.chat.meta = { ...this.chat.meta, title: meta.title, pinned: meta.pinned, folder: meta.folder };
      this.#updateTitle();
    });
    document.addEventListener('visibilitychange', () => this.look());
    this.#hearOthers();
    addEventListener('hashchange', () => this.route());
    shortcuts(this);
    this.#banner();
    this.route();
    this.sidebar.reload();
  }

  /** Other pages of this browser tell what they have done, and hear it. */
  #hearOthers() {
    if (!globalThis.BroadcastChannel) return;
    const channel = new BroadcastChannel('matou');
    let isEcho = false;
    const tell = (what, id) => { if (!isEcho) channel.postMessage({ user: state.session.user, what, id }); };
    for (const what of ['created', 'changed', 'touched']) on(what, (meta) => tell(what, meta.id));
    on('deleted', (id) => tell('deleted', id));
    const heard = debounce((id) => {
      this.sidebar.reload();
      if (id === this.chat.id) this.chat.refresh().catch((error) => this.#missed(error));
    }, 200);
    channel.onmessage = ({ data: { user, what, id } }) => {
      if (user !== state.session.user) return;
      if (what !== 'deleted') { heard(id); return; }
      isEcho = true;
      emit('deleted', id);
      isEcho = false;
    };
  }

  #banner() {
    this.banner.hidden = !state.offline;
    fill(this.banner, state.offline && [icon('warning'), h('span', {}, t('offline.banner'))]);
    this.settingsButton.disabled = state.offline;
  }

  /** Shows what the address names. */
  async route() {
    const [, place, id, messageId] = location.hash.split('/').map(decoded);
    if (place === 'personas') this.open.personas();
    if (place !== 'c' || !id) { if (!this.chat || this.chat.id) this.#show(new Chat(this.#newMeta())); return; }
    if (this.chat?.id === id && !messageId) return;
    const turn = this.#turn += 1;
    try {
      const chat = await Chat.open(id, messageId);
      if (turn === this.#turn) this.#show(chat, messageId);
    } catch (error) {
      if (turn !== this.#turn || error?.status === 401) return;
      toast(error?.name === 'NetworkError' || state.offline ? t('offline.notSeen') : t('conversation.gone'), 'error');
      this.newChat();
    }
  }

  #newMeta() { return { id: null, title: '', settings: { system: DEFAULT_SYSTEM, ...read(owned('next'), {}) }, draft: '' }; }

  #show(chat, messageId, mayFocus) {
    this.#turn += 1;
    this.chat = chat;
    if (!this.#heard.has(chat)) this.#listen(chat);
    this.view.show(chat, { messageId });
    this.composer.show(chat, mayFocus);
    this.#updateTitle();
    emit('opened', chat.id);
  }

  #listen(chat) {
    this.#heard.add(chat);
    chat.addEventListener('meta', () => {
      if (chat !== this.chat) return;
      if (chat.id && location.hash !== `#/c/${encodeURIComponent(chat.id)}`) history.replaceState(null, '', `#/c/${encodeURIComponent(chat.id)}`);
      this.#updateTitle();
      this.composer.update();
    });
    chat.addEventListener('kept', ({ detail }) => { if (chat === this.chat) toast(t('compare.kept', { name: displayName(detail?.model ?? chat.model) })); });
  }

  newChat(meta, mayFocus = true) {
    history.pushState(null, '', '/');
    this.#show(new Chat(meta ?? this.#newMeta()), undefined, mayFocus);
    if (isNarrow()) this.sidebar.toggle(false);
  }

  #updateTitle() {
    const { title, id } = this.chat.meta;
    this.title.textContent = title || t(id ? 'untitled' : 'newChat');
    this.titleButton.disabled = !id;
    document.title = title ? `${title} – matou` : 'matou';
  }

  #titleMenu(anchor) { menu(anchor, conversationMenu(this.chat.meta, this.sidebar.folders)); }

  /** A new conversation with a persona, begun with one of its greetings. */
  async chatWith(persona, greeting) {
    const user = read(owned('you'), '');
    const chat = new Chat({ id: null, title: '', draft: '', settings: { model: persona.id, persona: { greeting, ...(user && { user }) } } });
    history.pushState(null, '', '/');
    this.#show(chat);
    if (isNarrow()) this.sidebar.toggle(false);
    await attempt(async () => {
      const query = user ? `?user=${encodeURIComponent(user)}` : '';
      const said = (await json(`/v1/personas/${encodeURIComponent(persona.id)}/greetings${query}`).catch(() => null))?.data ?? persona.greetings ?? [];
      const text = contentText(said[greeting] ?? '');
      if (text) await chat.greet(text, persona.nickname || persona.name || persona.id);
    });
  }

  async signOut() {
    const isLocal = !state.session.history;
    const yes = await confirm({ title: t('signOut.title'), text: isLocal ? t('signOut.localText') : t('signOut.text'), yes: t('signOut') });
    if (!yes) return;
    await attempt(async () => {
      await this.chat.stop();
      await signOut();
      await store.forget();
      forgetUser();
      fill(document.getElementById('app'));
      await askForKey();
      this.restart();
    });
  }

  /** After a sign-in: everything is read anew, as whoever it is now. */
  restart() { location.reload(); }

  /** Looks after what others have done while this page was not looked at. */
  async look() {
    if (document.hidden || state.offline) return;
    this.sidebar.reload();
    try { await this.chat.check(); } catch (error) { this.#missed(error); }
  }

  /** The conversation that is shown is no longer there. */
  #missed(error) {
    if (error?.status !== 404) return;
    toast(t('conversation.gone'), 'error');
    this.newChat();
  }

  /** The server answers again. */
  async cameBack(isNew = true) {
    if (state.session.needs_key && !state.session.signed_in) { await askForKey(); return this.restart(); }
    await Promise.all([refreshStatus(), refreshPersonas()]);
    this.sidebar.reload();
    if (this.chat?.id) {
      try { await this.chat.refresh(); } catch (error) { this.#missed(error); }
    }
    if (isNew) toast(t('offline.back'));
  }

  #actions() {
    const say = (task) => attempt(task);
    return {
      send: async (text, other) => {
        this.view.scroller.toEnd();
        // It may have gone on elsewhere.
        await this.chat.check().catch(() => {});
        try {
          if (this.chat.busy) throw new Error(t('answer.elsewhere'));
          await this.chat.send(text, other);
        } catch (error) {
          await say(() => { throw error; });
          throw error;
        }
      },
      stop: async () => {
        try { await this.chat.stop(); } catch (error) { toast(t('answer.notStopped', { why: errorText(error) }), 'error'); }
      },
      busyChanged: () => this.composer.update(),
      focusConversation: () => this.view.element.focus({ preventScroll: true }),
      focusComposer: () => this.composer.focus(),
      copy: async (message, anchor) => {
        const ok = await copyText(contentText(message.content));
        if (!ok) { toast(t('copy.failed'), 'error'); return; }
        fill(anchor, icon('check'));
        setTimeout(() => fill(anchor, icon('copy')), 1500);
        toast(t('copy.done'));
      },
      regenerate: (message) => { if (!this.chat.busy) { this.view.scroller.isAtEnd = true; this.chat.regenerate(message); } },
      continueAnswer: (message) => { if (!this.chat.busy) this.chat.continueAnswer(message); },
      edit: (message, view) => view.edit(),
      saveEdit: async (message, text) => {
        if (state.offline || this.chat.busy) { toast(t(state.offline ? 'error.network' : 'edit.busy'), 'error'); return false; }
        return await say(async () => { await this.chat.edit(message, text); return true; }) ?? false;
      },
      editLast: () => {
        if (state.offline || this.chat.busy) return false;
        const last = this.chat.path.findLast((message) => message.role === 'user');
        const view = last && this.view.viewOf(last.id);
        view?.edit();
        return Boolean(view);
      },
      remove: async (message) => {
        const yes = await confirm({ title: t('message.deleteTitle'), text: t('message.deleteText'), yes: t('message.delete') });
        if (yes) await say(() => this.chat.remove(message));
      },
      inspect: (message) => this.open.inspect(message),
      switchTo: (id) => say(() => this.chat.switchTo(id)),
      keep: (id, deleteOther) => say(() => this.chat.keep(id, deleteOther)),
      chooseOther: (anchor) => chooseOther(this.chat.model, { anchor }),
      compare: async (message) => {
        if (this.chat.busy) return;
        const other = await chooseOther(message.model || this.chat.model);
        if (other) this.chat.answerTwice(message.parent, other, message.id);
      },
      pickModel: (anchor) => openModels({
        anchor, current: this.chat.model,
        choose: (name) => this.chooseModel(name),
        personas: () => this.open.personas(),
      }),
      example: (text) => this.composer.set(text),
      greet: (persona, at) => this.chatWith(persona, at),
    };
  }

  async chooseModel(name) {
    write(owned('model'), name);
    await attempt(() => this.chat.setSettings({ ...this.chat.settings, model: name }));
    this.view.refresh();
    this.composer.update();
    if (statusOf(name).value === 'unloaded') attempt(() => loadModel(name));
    toast(t('model.chosen', { name: displayName(name || defaultModel()) }));
  }
}
