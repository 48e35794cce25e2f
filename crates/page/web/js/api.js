// Requests to the server, and what can go wrong with them.

import { events } from './sse.js';

/** The server answered, and said no. */
export class ApiError extends Error {
  constructor(status, error, retryAfter) {
    super(error?.message || `HTTP ${status}`);
    this.name = 'ApiError';
    this.status = status;
    this.code = error?.code ?? null;
    this.param = error?.param ?? null;
    this.retryAfter = retryAfter;
  }
}

/** The server did not answer. */
export class NetworkError extends Error {
  constructor(cause) {
    super('The server is not reachable.', { cause });
    this.name = 'NetworkError';
  }
}

/** Told of every answer (`up`), of every failure to reach the server (`down`), of every 401. */
export const watch = { up() {}, down() {}, signedOut() {} };

/** Fetches; throws ApiError or NetworkError; an abort is passed on as it is. */
export async function request(path, { method = 'GET', body, raw, signal, headers = {}, timeout } = {}) {
  const init = { method, headers: { ...headers }, signal, credentials: 'same-origin', cache: 'no-store' };
  if (raw !== undefined) init.body = raw;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers['Content-Type'] = 'application/json';
  }
  if (timeout) init.signal = signal ? AbortSignal.any([signal, AbortSignal.timeout(timeout)]) : AbortSignal.timeout(timeout);
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    watch.down();
    throw new NetworkError(error);
  }
  watch.up();
  if (response.ok) return response;
  let told = null;
  try { told = (await response.json()).error; } catch { /* no JSON: a proxy's page, say */ }
  if (typeof told === 'string') told = { message: told };
  const error = new ApiError(response.status, told, Number(response.headers.get('Retry-After')) || 0);
  if (response.status === 401 && path !== '/session') watch.signedOut();
  throw error;
}

export async function json(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

export const post = (path, body, options) => json(path, { method: 'POST', body, ...options });

/** A streamed answer: an async iterator of its events. */
export async function stream(path, options) {
  return events(await request(path, { ...options, headers: { Accept: 'text/event-stream' } }));
}

export const part = encodeURIComponent;
