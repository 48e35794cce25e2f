// Search in conversations that the browser keeps, with the same answers as the server's search.

import { contentText } from '../tree.js';

const fold = (text) => text.toLowerCase().normalize('NFD').replace(/\p{M}/gu, '');

/** Folds a text and remembers where each unit came from, so that matches can be shown in the original. */
function folded(text) {
  let out = '';
  const from = [];
  let at = 0;
  for (const char of text) {
    for (const unit of fold(char)) { out += unit; for (let i = 0; i < unit.length; i += 1) from.push(at); }
    at += char.length;
  }
  from.push(at);
  return { out, from };
}

export const terms = (query) => fold(query).split(/\s+/).filter(Boolean).slice(0, 8);

/** Where the words of a query are in a text: { text, matches } of about 120 characters, or null. */
export function snippet(text, query, width = 120) {
  const wanted = terms(query);
  const { out, from } = folded(text);
  if (!wanted.length || !wanted.every((term) => out.includes(term))) return null;
  const first = from[Math.min(...wanted.map((term) => out.indexOf(term)))];
  const start = Math.max(0, first - Math.floor(width / 4));
  const end = Math.min(text.length, start + width);
  const matches = [];
  for (const term of wanted) {
    for (let at = out.indexOf(term); at !== -1; at = out.indexOf(term, at + term.length)) {
      const [left, right] = [from[at], from[at + term.length] ?? text.length];
      if (left >= start && right <= end) matches.push([left - start, right - start]);
      if (left > end) break;
    }
  }
  return { text: text.slice(start, end), matches: merge(matches) };
}

function merge(matches) {
  const sorted = matches.sort((a, b) => a[0] - b[0]);
  const out = [];
  for (const [left, right] of sorted) {
    const last = out[out.length - 1];
    if (last && left <= last[1]) last[1] = Math.max(last[1], right);
    else out.push([left, right]);
  }
  return out;
}

/** The snippet of a conversation for a query: of its title, or of the first message that has all words. */
export function find(conversation, messages, query) {
  const title = snippet(conversation.title ?? '', query);
  if (title) return { ...title, message_id: null };
  for (const message of messages) {
    if (message.role !== 'user' && message.role !== 'assistant') continue;
    const found = snippet(contentText(message.content), query);
    if (found) return { ...found, message_id: message.id };
  }
  return null;
}
