// One message on the page. It builds its parts once and changes only what has changed, so that nothing
// moves and no selection is lost while an answer is being written.

import { MarkdownView } from '../content/markdown.js';
import { breakMarks } from '../content/marks.js';
import { fill, h, icon, iconButton } from '../dom.js';
import { t, tNodes } from '../i18n.js';
import { describe, displayName, statusOf } from '../models.js';
import { owned, read, state, write } from '../state.js';
import { contentText } from '../tree.js';
import { pretty, statParts, thoughtLabel } from './format.js';
import { contentLabels } from './labels.js';

export class MessageView {
  #text = null;
  #thoughts = null;
  #thoughtView = null;
  #calls = null;
  #shown = '';

  /** `does` has what the buttons do: copy, regenerate, edit, remove, continueAnswer, inspect, switchTo, keep. */
  constructor(message, chat, does) {
    this.message = message;
    this.chat = chat;
    this.does = does;
    this.isAnswer = message.role === 'assistant';
    this.bodyElement = h('div', { class: 'message-text', testid: 'message-text', dir: 'auto' });
    this.stateElement = h('div', { class: 'message-state' });
    this.statsElement = h('p', { class: 'stats', testid: 'stats' });
    this.actionsElement = h('div', { class: 'actions', role: 'group', 'aria-label': t('message.actions') });
    this.element = h('article', { class: `message ${message.role}`, testid: 'message', 'aria-label': this.#label() },
      this.isAnswer && this.#head(),
      this.bodyElement, this.stateElement,
      this.isAnswer && this.statsElement,
      this.actionsElement);
    this.update();
  }

  #label() {
    if (this.message.role === 'user') return t('message.you');
    return displayName(this.message.model || this.chat.model) || t('message.answer');
  }

  #head() {
    const name = this.message.model || this.chat.model;
    const { persona } = describe(name);
    const picture = persona?.picture
      ? h('img', { class: 'avatar', src: persona.picture, alt: '', loading: 'lazy', width: 28, height: 28 })
      : h('span', { class: 'avatar mark', 'aria-hidden': 'true' });
    return h('header', { class: 'message-head' }, picture, h('bdi', { class: 'message-name' }, this.#label()));
  }

  get isRunning() { return this.message.state === 'running'; }

  /** Brings everything up to date with the message. */
  update() {
    const { message, element } = this;
    Object.assign(element.dataset, { role: message.role, id: message.id, state: message.state ?? 'done' });
    element.setAttribute('aria-busy', String(this.isRunning));
    this.#updateText();
    this.#updateThoughts();
    this.#updateCalls();
    this.#updateState();
    this.#updateStats();
    this.#updateActions();
  }

  #updateText() {
    const text = contentText(this.message.content);
    if (!this.isAnswer) {
      if (this.message.role === 'tool') this.#updateToolResult(text);
      else if (this.#shown !== text) this.bodyElement.textContent = breakMarks(text);
      this.#shown = text;
      return;
    }
    if (!text && !this.#text) return;
    this.#text ??= new MarkdownView(this.bodyElement, { labels: contentLabels() });
    showText(this.#text, text, !this.isRunning);
  }

  #updateToolResult(text) {
    if (this.#shown === text) return;
    fill(this.bodyElement, h('details', { class: 'fold' },
      h('summary', {}, icon('tool'), t('tool.result')),
      h('pre', { class: 'plain', tabindex: '0' }, pretty(text))));
  }

  /** New text of a running answer. */
  append({ content, reasoning }) {
    if (content) {
      if (!this.#text) { this.#text = new MarkdownView(this.bodyElement, { labels: contentLabels() }); this.#updateState(); }
      this.#text.append(content);
    }
    if (reasoning) {
      if (!this.#thoughts) this.#updateThoughts();
      else this.#thoughtView?.append(reasoning);
    }
    if (this.#thoughts) this.#labelThoughts();
    if (this.message.tool_calls?.length) this.#updateCalls();
  }

  #updateThoughts() {
    const text = this.message.reasoning ?? '';
    if (!text) return;
    if (!this.#thoughts) {
      const inner = h('div', { class: 'thoughts-text', dir: 'auto' });
      this.thoughtLabelElement = h('span', {});
      this.#thoughts = h('details', { class: 'fold thoughts', ontoggle: () => {
        // What nobody looks at is not rendered.
        if (!this.#thoughts.open || this.#thoughtView) return;
        this.#thoughtView = new MarkdownView(inner, { labels: contentLabels() });
        showText(this.#thoughtView, this.message.reasoning ?? '', !this.isRunning);
      } }, h('summary', {}, icon('spark'), this.thoughtLabelElement), inner);
      this.bodyElement.before(this.#thoughts);
    }
    if (this.#thoughtView) showText(this.#thoughtView, text, !this.isRunning);
    this.#labelThoughts();
  }

  #labelThoughts() {
    const isThinking = this.isRunning && !contentText(this.message.content);
    const label = thoughtLabel(this.message, isThinking);
    if (this.thoughtLabelElement.textContent !== label) this.thoughtLabelElement.textContent = label;
    this.#thoughts.classList.toggle('is-thinking', isThinking);
  }

  #updateCalls() {
    const calls = this.message.tool_calls ?? [];
    if (!calls.length) return;
    if (!this.#calls) {
      this.#calls = h('div', { class: 'calls' });
      this.bodyElement.after(this.#calls);
    }
    calls.forEach((call, at) => {
      const name = call.function?.name ?? call.custom?.name ?? call.type ?? '';
      const given = pretty(call.function?.arguments ?? call.custom?.input ?? '');
      let fold = this.#calls.children[at];
      if (!fold) {
        fold = h('details', { class: 'fold', open: true }, h('summary', {}, icon('tool'), h('span', {})), h('pre', { class: 'plain', tabindex: '0' }));
        this.#calls.append(fold);
      }
      fill(fold.querySelector('summary span'), tNodes('tool.call', { name }));
      const pre = fold.querySelector('pre');
      if (pre.textContent !== given) pre.textContent = given;
    });
  }

  /** Waiting, loading, cut off, failed: what there is to say beside the text. */
  #updateState() {
    const { message } = this;
    const box = this.stateElement;
    const isEmpty = !contentText(message.content) && !message.reasoning && !message.tool_calls?.length;
    if (this.isRunning) {
      if (this.reconnecting) fill(box, h('p', { class: 'note' }, t('answer.reconnecting')));
      else if (isEmpty) fill(box, waiting(message.model || this.chat.model));
      else box.replaceChildren();
      return;
    }
    const notes = { stopped: t('answer.stopped'), interrupted: t('answer.interrupted') };
    if (message.state === 'failed' || (message.error && message.state !== 'stopped')) {
      fill(box, errorBox(message.error || t('error.unknown'), () => this.does.regenerate(message)));
    } else if (notes[message.state]) fill(box, h('p', { class: 'note' }, notes[message.state]));
    else if (message.finish_reason === 'length') fill(box, h('p', { class: 'note' }, t('answer.length')));
    else if (isEmpty && this.isAnswer) fill(box, h('p', { class: 'note' }, t('answer.empty')));
    else box.replaceChildren();
  }

  /** The wait for a model that is being loaded shows how far it is. */
  tick() { if (this.isRunning && !contentText(this.message.content) && !this.message.reasoning) this.#updateState(); }

  #updateStats() {
    if (!this.isAnswer) return;
    const parts = state.prefs.stats && !this.isRunning ? statParts(this.message) : [];
    this.statsElement.hidden = !parts.length && !this.isRunning;
    fill(this.statsElement, parts.flatMap((part, at) => [at > 0 && h('span', { class: 'dot', 'aria-hidden': 'true' }, ' · '), h('span', {}, part)]));
  }

  #updateActions() {
    const { message, does } = this;
    const focused = document.activeElement?.dataset?.testid;
    const hadFocus = this.actionsElement.contains(document.activeElement);
    const act = (name, label, action, props) => iconButton(name, label, { onclick: action, ...props });
    const isOver = !this.isRunning;
    const { ids, index } = this.chat.siblings(message);
    const isCut = this.isAnswer && isOver && (message.finish_reason === 'length' || ['stopped', 'interrupted'].includes(message.state));
    const editable = message.role === 'user' || message.role === 'assistant';
    // One thing at a time: while an answer is being written, no other is begun.
    const blocked = state.offline || this.chat.busy;
    fill(this.actionsElement,
      ids.length > 1 && this.#switcher(ids, index),
      isOver && act('copy', t('message.copy'), (event) => does.copy(message, event.currentTarget), { testid: 'copy' }),
      this.isAnswer && isOver && message.parent && act('redo', t('message.regenerate'), () => does.regenerate(message), { testid: 'regenerate', disabled: blocked }),
      isCut && act('forward', t('message.continue'), () => does.continueAnswer(message), { testid: 'continue', disabled: blocked }),
      editable && isOver && act('edit', t('message.edit'), () => does.edit(message, this), { testid: 'edit', disabled: blocked }),
      this.isAnswer && isOver && message.parent && act('columns', t('message.compare'), () => does.compare(message), { testid: 'compare-answer', disabled: blocked }),
      this.isAnswer && isOver && act('inspect', t('message.inspect'), () => does.inspect(message), { testid: 'inspect' }),
      isOver && act('trash', t('message.delete'), () => does.remove(message), { testid: 'delete', disabled: blocked }));
    if (hadFocus) (this.actionsElement.querySelector(`[data-testid="${CSS.escape(focused ?? '')}"]:not(:disabled)`) ?? this.actionsElement.querySelector('button:not(:disabled)'))?.focus();
  }

  #switcher(ids, index) {
    const go = (step) => () => this.does.switchTo(ids[index + step], step);
    return h('div', { class: 'branches', role: 'group', 'aria-label': t('branch.label') },
      iconButton('prev', t('branch.prev'), { testid: 'branch-prev', disabled: index <= 0 || this.chat.busy, onclick: go(-1) }),
      h('span', { testid: 'branch-label', 'aria-label': t('branch.position', { n: index + 1, all: ids.length }), role: 'img' }, `${index + 1}/${ids.length}`),
      iconButton('next', t('branch.next'), { testid: 'branch-next', disabled: index >= ids.length - 1 || this.chat.busy, onclick: go(1) }));
  }

  /** Turns the message into a field to edit it in. */
  edit() {
    if (this.element.classList.contains('is-editing')) return;
    const text = contentText(this.message.content);
    const isUser = this.message.role === 'user';
    // What was not saved yet, because the server or the page went away, is taken up again.
    const key = owned(`edit.${this.message.id}`);
    const begun = read(key, text);
    const area = h('textarea', { class: 'input edit-text', dir: 'auto', 'aria-label': t('edit.label'), testid: 'edit-text', rows: Math.min(14, begun.split('\n').length + 1), value: begun, oninput: () => write(key, area.value) });
    const end = () => {
      write(key, null);
      form.remove();
      if (!this.element.isConnected) return;
      this.element.classList.remove('is-editing');
      this.actionsElement.querySelector('[data-testid="edit"]')?.focus();
    };
    const save = async (event) => {
      event?.preventDefault();
      const changed = area.value;
      if (!changed.trim() || submit.disabled) return;
      submit.disabled = true;
      // Only what was taken is closed.
      if (await this.does.saveEdit(this.message, changed)) end();
      submit.disabled = false;
    };
    const submit = h('button', { type: 'submit', class: 'button primary', testid: 'edit-save' }, isUser ? t('edit.send') : t('save'));
    const form = h('form', { class: 'edit-form', onsubmit: save },
      area,
      h('div', { class: 'edit-actions' },
        h('p', { class: 'note' }, isUser ? t('edit.userNote') : t('edit.answerNote')),
        h('button', { type: 'button', class: 'button', onclick: end }, t('cancel')),
        submit));
    area.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') { event.preventDefault(); event.stopPropagation(); end(); }
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) save(event);
    });
    this.element.classList.add('is-editing');
    this.bodyElement.before(form);
    area.focus();
    area.setSelectionRange(begun.length, begun.length);
  }

  destroy() {
    this.#text?.destroy();
    this.#thoughtView?.destroy();
  }
}

/** Shows a text, by what was added to it where there is more of the same. */
function showText(view, text, isWhole) {
  if (view.text === text) { if (isWhole) view.finish(); return; }
  if ((view.text || !isWhole) && text.startsWith(view.text)) {
    view.append(text.slice(view.text.length));
    if (isWhole) view.finish();
  } else view.set(text);
}

/** What is shown until the first word: that the model is being loaded, or three quiet dots. */
export function waiting(name) {
  const status = statusOf(name);
  if (status.value === 'loading') {
    const share = status.progress ?? 0;
    return h('div', { class: 'load-box' },
      h('p', { class: 'note' }, tNodes('model.loadingName', { name: displayName(name) })),
      h('progress', { max: 1, value: share, 'aria-label': t('model.loading') }));
  }
  return h('p', { class: 'dots' }, h('span', { class: 'visually-hidden' }, t('answer.waiting')), h('span'), h('span'), h('span'));
}

export function errorBox(text, again) {
  return h('div', { class: 'error-box', role: 'alert' }, icon('warning'),
    h('p', { dir: 'auto' }, text),
    again && h('button', { type: 'button', class: 'button', testid: 'try-again', onclick: again }, t('tryAgain')));
}
