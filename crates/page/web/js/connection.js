// Whether the server answers. When it does not, it is asked again and again, more and more seldom.

import { watch } from './api.js';
import { emit, state, takeSession } from './state.js';

const FIRST_MS = 1000;
const LAST_MS = 15_000;

export class Connection {
  #timer = 0;
  #wait = FIRST_MS;
  #checking = false;

  constructor() {
    watch.down = () => this.#doubt();
    watch.up = () => this.#back();
    addEventListener('online', () => { if (state.offline) this.#ask(); });
    addEventListener('offline', () => this.#doubt());
    document.addEventListener('visibilitychange', () => { if (!document.hidden && state.offline) this.#ask(); });
  }

  begin(app) { this.app = app; }

  /** One request that failed may have been bad luck: the server is asked before it is called away. */
  async #doubt() {
    if (state.offline || this.#checking) return;
    this.#checking = true;
    const there = await this.#reach();
    this.#checking = false;
    if (!there) this.lost();
  }

  lost() {
    if (state.offline) return;
    state.offline = true;
    this.#wait = FIRST_MS;
    emit('offline', true);
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), this.#wait);
    this.#wait = Math.min(LAST_MS, this.#wait * 1.6);
  }

  async #ask() {
    if (!state.offline) return;
    if (await this.#reach()) this.#back();
    else this.#later();
  }

  async #reach() {
    try {
      const response = await fetch('/session', { cache: 'no-store', signal: AbortSignal.timeout(4000) });
      if (response.status >= 502 && response.status <= 504) return false;
      const { user } = state.session;
      if (response.ok) takeSession(await response.json());
      if (state.session.user !== user) location.reload();
      return true;
    } catch {
      return false;
    }
  }

  #back() {
    if (!state.offline) return;
    clearTimeout(this.#timer);
    state.offline = false;
    emit('offline', false);
    this.app?.cameBack();
  }
}
