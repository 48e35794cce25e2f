// Keeps the end in sight while the reader is there, and leaves the reader alone elsewhere.

const NEAR = 48;

export class Scroller {
  isAtEnd = true;
  #top = 0;

  /** `changed(isAtEnd)` is called when the reader leaves the end or comes back. */
  constructor(element, content, changed) {
    this.element = element;
    this.changed = changed;
    element.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    // Whatever grows – text, a picture, an opened fold – the end stays the end.
    new ResizeObserver(() => { if (this.isAtEnd) this.#pin(); else this.#scrolled(); }).observe(content);
    new ResizeObserver(() => { if (this.isAtEnd) this.#pin(); }).observe(element);
  }

  get gap() { return this.element.scrollHeight - this.element.clientHeight - this.element.scrollTop; }

  #scrolled() {
    const { scrollTop } = this.element;
    const near = this.gap < NEAR;
    // Only a move upwards leaves the end: text that grows below does not.
    const next = near || (this.isAtEnd && scrollTop >= this.#top - 1);
    this.#top = scrollTop;
    if (next !== this.isAtEnd) { this.isAtEnd = next; this.changed(next); }
    else if (!next) this.changed(false);
  }

  #pin() {
    this.element.scrollTop = this.element.scrollHeight;
    this.#top = this.element.scrollTop;
  }

  toEnd(smooth = false) {
    this.isAtEnd = true;
    this.changed(true);
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (smooth && !still && this.gap < 3000) this.element.scrollTo({ top: this.element.scrollHeight, behavior: 'smooth' });
    else this.#pin();
  }

  leave() { this.isAtEnd = false; this.changed(false); }

  /** Runs something that adds or removes above what is seen; what is seen stays where it is. */
  holding(anchor, task) {
    const before = anchor?.getBoundingClientRect().top ?? 0;
    task();
    if (anchor?.isConnected) {
      this.element.scrollTop += anchor.getBoundingClientRect().top - before;
      this.#top = this.element.scrollTop;
    }
  }
}
