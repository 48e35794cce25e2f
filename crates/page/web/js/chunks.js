// How the chunks of a stream make up a message. Used by the page and by the store that answers in the
// browser, so that both see the same.

/** Takes one chunk into a message; gives what is new: { content, reasoning }. */
export function take(message, chunk) {
  const added = { content: '', reasoning: '' };
  const choice = chunk.choices?.[0];
  const delta = choice?.delta ?? {};
  if (typeof delta.content === 'string' && delta.content) {
    added.content = delta.content;
    message.content = (typeof message.content === 'string' ? message.content : '') + delta.content;
  }
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (typeof thought === 'string' && thought) {
    added.reasoning = thought;
    message.reasoning = (message.reasoning ?? '') + thought;
  }
  for (const call of delta.tool_calls ?? []) takeCall(message, call);
  if (choice?.finish_reason) message.finish_reason = choice.finish_reason;
  if (choice?.logprobs?.content?.length) message.has_logprobs = true;
  if (chunk.usage) message.usage = chunk.usage;
  if (chunk.timings) message.timings = chunk.timings;
  return added;
}

function takeCall(message, call) {
  message.tool_calls ??= [];
  const at = Number.isInteger(call.index) ? call.index : message.tool_calls.length;
  const known = message.tool_calls[at] ??= { id: call.id, type: 'function', function: { name: '', arguments: '' } };
  if (call.id) known.id = call.id;
  if (call.function?.name) known.function.name += call.function.name;
  if (call.function?.arguments) known.function.arguments += call.function.arguments;
}
