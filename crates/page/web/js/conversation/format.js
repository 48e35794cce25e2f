// The quiet line below an answer, and what is shown of one in the inspector.

import { number, percent, t } from '../i18n.js';

/** "42 tokens · 31.2 tokens/s · first token 0.18 s · 512 cached + 20 new", as parts; missing ones are left out. */
export function statParts(message) {
  const { usage, timings } = message;
  const parts = [];
  const tokens = usage?.completion_tokens ?? timings?.predicted_n;
  if (Number.isFinite(tokens)) parts.push(t('stats.tokens', { n: tokens }));
  if (timings?.predicted_per_second > 0) parts.push(t('stats.speed', { speed: number(timings.predicted_per_second, 1) }));
  const first = timings?.first_token_ms ?? message.first_ms;
  if (Number.isFinite(first)) parts.push(t('stats.first', { seconds: seconds(first) }));
  else if (Number.isFinite(timings?.prompt_ms)) parts.push(t('stats.read', { seconds: seconds(timings.prompt_ms) }));
  const cached = timings?.cache_n ?? usage?.prompt_tokens_details?.cached_tokens;
  const fresh = timings?.prompt_n ?? (usage ? usage.prompt_tokens - (cached ?? 0) : undefined);
  if (Number.isFinite(cached) && Number.isFinite(fresh)) parts.push(t('stats.prompt', { cached, fresh }));
  const { draft_n: drafted, draft_n_accepted: accepted } = timings ?? {};
  if (drafted > 0) parts.push(t('stats.drafts', { accepted: accepted ?? 0, drafted, share: percent((accepted ?? 0) / drafted) }));
  return parts;
}

export const seconds = (ms) => number(ms / 1000, ms < 10_000 ? 2 : 1);

/** "Thought for 4 seconds" where it is known how long. */
export function thoughtLabel(message, isThinking) {
  if (isThinking) return t('thoughts.now');
  if (message.thought_ms) return t('thoughts.took', { n: Math.max(1, Math.round(message.thought_ms / 1000)) });
  return t('thoughts.some');
}

/** JSON as it reads best; text that is none stays as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(typeof text === 'string' ? JSON.parse(text) : text, null, 2);
  } catch {
    return String(text ?? '');
  }
}
