// The words that the content modules show, in the reader's language.

import { t } from '../i18n.js';

let labels = null;

/** Of answers and of tokens; made once, a language is chosen when the page is loaded. */
export const contentLabels = () => labels ??= {
  copy: t('code.copy'),
  copied: t('code.copied'),
  code: t('code.label'),
  table: t('code.table'),
  done: t('content.done'),
  open: t('content.open'),
  control: t('content.control'),
  showMore: (n) => t('content.more', { n: Number(n) || 0 }),
  showAsText: t('content.asText'),
  tokens: t('tokens.label'),
  alternatives: t('tokens.alternatives'),
  probability: t('tokens.probability'),
  chosen: t('tokens.chosen'),
  other: t('tokens.other'),
  none: t('tokens.none'),
};
