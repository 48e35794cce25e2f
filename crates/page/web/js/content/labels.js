// The words of the content modules, in English. The page passes its own in the reader's language.

const LABELS = {
  copy: 'Copy',
  copied: 'Copied',
  code: 'Code',
  table: 'Table',
  done: 'Done',
  open: 'Not done',
  showMore: (n) => `Show more (${n} KB left)`,
  showAsText: 'Shown as plain text',
  control: 'Hidden character',
  tokens: 'Tokens. Arrow keys move between them.',
  alternatives: 'Alternatives',
  other: 'all others',
  none: 'No alternatives were recorded',
};

/** All labels, those of the page first; `showMore` may be a text with {n} too. */
export function withDefaults(labels = {}) {
  const all = { ...LABELS };
  for (const [name, value] of Object.entries(labels ?? {})) {
    if (value !== undefined && value !== null) all[name] = value;
  }
  const more = all.showMore;
  all.showMore = typeof more === 'function' ? more : (n) => String(more).replace('{n}', n);
  return all;
}
