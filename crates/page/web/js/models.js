// Models, adapters and personas: what there is, and what each name stands for.

import { json, post, ApiError } from './api.js';
import { emit, owned, read, state } from './state.js';

/** Asks the server again; never throws. */
export async function refreshStatus() {
  try {
    state.status = await json('/status', { timeout: 8000 });
  } catch (error) {
    if (!(error instanceof ApiError)) return;
    try { state.names = ((await json('/v1/models')).data ?? []).map((model) => model.id); } catch { return; }
  }
  emit('status');
  if (models().some((model) => isMoving(model))) watchLoading();
}

export async function refreshPersonas() {
  try {
    state.personas = (await json('/v1/personas')).data ?? [];
    emit('status');
  } catch { /* a server without personas has none */ }
}

let timer = 0;
let until = 0;

/** Asks often while something is being loaded, or for a while after something was asked for. */
export function watchLoading(ms = 0) {
  until = Math.max(until, Date.now() + ms);
  if (timer) return;
  timer = setTimeout(async () => {
    await refreshStatus();
    timer = 0;
    if (Date.now() < until || models().some(isMoving)) watchLoading();
  }, 600);
}

export const models = () => state.status?.models ?? [];
export const adapters = () => state.status?.adapters ?? [];
const isMoving = (model) => ['loading', 'unloading'].includes(model.status?.value);

/** { kind, name, model (its base's entry), persona } of a name; kind is 'unknown' for what is not served. */
export function describe(name) {
  const named = (wanted) => models().find((model) => model.name === wanted || model.names?.includes(wanted));
  const model = named(name);
  if (model) return { kind: 'model', name, model };
  const adapter = adapters().find((each) => each.name === name);
  if (adapter) return { kind: 'adapter', name, model: named(adapter.model), adapter };
  const persona = state.personas.find((each) => each.id === name);
  if (persona) return { kind: 'persona', name, persona, model: describe(persona.parent ?? persona.model ?? '').model ?? models()[0] };
  return { kind: state.names.includes(name) ? 'model' : 'unknown', name };
}

/** What a new conversation talks to: the last choice if it is still served, or what is in memory. */
export function defaultModel() {
  const last = read(owned('model'), '');
  if (last && describe(last).kind !== 'unknown') return last;
  const list = models();
  const best = list.find((model) => model.status?.value === 'loaded') ?? list.find((model) => model.pinned) ?? list[0];
  return best?.name ?? state.names[0] ?? '';
}

export const isPersona = (name) => describe(name).kind === 'persona';

/** The name that people read: a persona's own, else the model's. */
export const displayName = (name) => {
  const persona = state.personas.find((each) => each.id === name);
  return persona ? persona.nickname || persona.name : name;
};

/** "loaded", "loading", …; "" where the server does not say. */
export const statusOf = (name) => describe(name).model?.status ?? {};

export const maxLen = (name) => describe(name).model?.max_model_len ?? 0;

export async function loadModel(name) {
  await post('/models/load', { model: name });
  watchLoading(3000);
}

export async function unloadModel(name) {
  await post('/models/unload', { model: name });
  watchLoading(3000);
}
