// The page's side of the worker: one request at a time, each with a limit of time. Past it the worker
// is ended and made anew, and the request fails with a `TimeoutError`.

import { scriptURL } from '../trusted.js';

const LIMIT = 1500;
const LOAD_LIMIT = 20000;

export class TimeoutError extends Error {}

class Client {
  #worker = null;
  #ready = null;
  #failed = 0;
  #queue = [];
  #current = null;
  #sequence = 0;
  /** Changes when the worker was made anew and so knows nothing of what it was told. */
  generation = 0;
  #loaded = new Set();

  /** Asks for `operation`. `urgent` requests go before the others. */
  call(operation, data = {}, { urgent = false, limit = LIMIT } = {}) {
    return new Promise((resolve, reject) => {
      const job = { operation, data, limit, resolve, reject };
      if (urgent) this.#queue.splice(this.#queue.findLastIndex((other) => other.urgent) + 1, 0, Object.assign(job, { urgent }));
      else this.#queue.push(job);
      this.#next();
    });
  }

  /** Loads a part of the worker that is only needed at times, once for each worker. */
  async load(operation) {
    const { generation } = this;
    if (this.#loaded.has(operation)) return;
    await this.call(operation, {}, { urgent: true, limit: LOAD_LIMIT });
    if (generation === this.generation) this.#loaded.add(operation);
  }

  async #next() {
    if (this.#current || !this.#queue.length) return;
    const job = this.#queue.shift();
    this.#current = job;
    try {
      await this.#start();
    } catch (error) {
      this.#current = null;
      job.reject(error);
      this.#next();
      return;
    }
    job.id = ++this.#sequence;
    // Two timers: where the page itself was busy, an answer that waits in its queue comes in between.
    job.timer = setTimeout(() => {
      job.timer = setTimeout(() => this.#end(new TimeoutError(`${job.operation} took too long`)), 20);
    }, job.limit);
    this.#worker.postMessage({ ...job.data, operation: job.operation, id: job.id });
  }

  #start() {
    if (this.#failed > 3) return Promise.reject(new Error('the worker does not start'));
    this.#ready ??= new Promise((resolve, reject) => {
      const worker = new Worker(scriptURL('/page/js/content/worker.js'), { type: 'module', name: 'content' });
      this.#worker = worker;
      const fail = (error) => {
        clearTimeout(timer);
        this.#failed++;
        reject(error);
        this.#end(error);
      };
      const timer = setTimeout(() => fail(new Error('the worker does not start')), LOAD_LIMIT);
      worker.onmessage = ({ data }) => {
        if (data.ready) {
          clearTimeout(timer);
          this.#failed = 0;
          resolve();
        } else this.#answer(data);
      };
      worker.onerror = (event) => {
        event.preventDefault?.();
        fail(new Error(event.message || 'the worker failed'));
      };
    }).catch((error) => {
      this.#ready = null;
      throw error;
    });
    return this.#ready;
  }

  #answer({ id, answer, error }) {
    const job = this.#current;
    if (!job || job.id !== id) return;
    clearTimeout(job.timer);
    this.#current = null;
    if (error === undefined) job.resolve(answer);
    else job.reject(new Error(error));
    this.#next();
  }

  #end(error) {
    const job = this.#current;
    this.#worker?.terminate();
    this.#worker = null;
    this.#ready = null;
    this.#loaded.clear();
    this.generation++;
    if (!job?.id) return;
    clearTimeout(job.timer);
    this.#current = null;
    job.reject(error);
    this.#next();
  }
}

export const client = new Client();
