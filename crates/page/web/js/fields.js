// From what a conversation's settings say to the fields of a request: only what was set is sent.

/** Of a new conversation: without any, small models answer badly. It is for the model, so it is not translated. */
export const DEFAULT_SYSTEM = 'You are a helpful assistant.';

/** The system prompt that holds: a persona has its own, so it is not given the page's default. */
export const systemOf = ({ system }, forPersona) => (forPersona && system === DEFAULT_SYSTEM ? '' : system ?? '');

export const NUMBERS = {
  temperature: { min: 0, max: 2, step: 0.05 },
  top_p: { min: 0, max: 1, step: 0.01 },
  top_k: { min: 0, max: 200, step: 1 },
  min_p: { min: 0, max: 1, step: 0.01 },
  max_tokens: { min: 1, step: 1 },
  seed: { step: 1 },
};

const isSet = (value) => value !== undefined && value !== null && value !== '';

/** The fields of POST …/answers for a conversation's settings. */
export function requestFields(settings = {}, forPersona = false) {
  const fields = {};
  const system = systemOf(settings, forPersona);
  if (system) fields.system = system;
  for (const name of ['model', ...Object.keys(NUMBERS)]) if (isSet(settings[name])) fields[name] = settings[name];
  const stop = stopList(settings.stop);
  if (stop.length) fields.stop = stop;
  if (isSet(settings.reasoning_effort)) fields.reasoning_effort = settings.reasoning_effort;
  if (typeof settings.thinking === 'boolean') fields.chat_template_kwargs = { enable_thinking: settings.thinking };
  if (settings.logprobs) Object.assign(fields, { logprobs: true, top_logprobs: 5 });
  const { greeting, user } = settings.persona ?? {};
  if (isSet(greeting) || isSet(user)) {
    fields.persona = { ...(isSet(greeting) && { greeting }), ...(isSet(user) && { user }) };
  }
  return fields;
}

/** Stop strings as people write them, one a line; \n means a line break. */
export function stopList(stop) {
  if (Array.isArray(stop)) return stop.filter((each) => typeof each === 'string' && each);
  return String(stop ?? '').split('\n').filter(Boolean).map((line) => line.replaceAll('\\n', '\n'));
}

/** A number as it was typed, or undefined; commas count as points. */
export function toNumber(text) {
  const trimmed = String(text).trim().replace(',', '.');
  if (!trimmed) return undefined;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : undefined;
}

/** Messages of a path as a chat completion takes them. */
export function wireMessages(path, system) {
  const messages = path.filter((message) => message.state !== 'failed' || message.content).map((message) => {
    const wire = { role: message.role, content: message.content ?? '' };
    if (message.tool_calls?.length) wire.tool_calls = message.tool_calls;
    if (message.tool_call_id) wire.tool_call_id = message.tool_call_id;
    return wire;
  });
  return isSet(system) ? [{ role: 'system', content: system }, ...messages] : messages;
}
