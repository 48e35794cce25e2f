// Finds formulas in Markdown: $…$, $$…$$, \(…\) and \[…\]. Pure; a price is not a formula.

export const MAX_TEX = 2000;

/** The formula that `src` begins with: {raw, tex, display}, or undefined. */
export function mathAt(src) {
  const opening = src[0];
  if (opening === '\\') {
    const close = src[1] === '(' ? '\\)' : src[1] === '[' ? '\\]' : null;
    return close ? cut(src, close, src[1] === '[') : undefined;
  }
  if (opening !== '$') return undefined;
  if (src[1] === '$') return cut(src, '$$', true);
  return dollars(src);
}

function cut(src, close, display) {
  const to = src.slice(0, MAX_TEX + 4).indexOf(close, 2);
  if (to < 0) return undefined;
  const tex = src.slice(2, to);
  // A blank line ends a paragraph and with it any formula.
  if (!tex.trim() || /\n[ \t]*\n/.test(tex)) return undefined;
  return { raw: src.slice(0, to + 2), tex: tex.trim(), display };
}

function dollars(src) {
  const limit = Math.min(src.length, MAX_TEX + 1);
  if (limit < 3 || /\s/.test(src[1])) return undefined;
  for (let i = 1; i < limit; i++) {
    const c = src[i];
    if (c === '\n') return undefined;
    if (c === '\\') i++;
    else if (c === '$') {
      // "$5 and $10", "$5–$10", "$3/kg or 4$ each": amounts, not formulas.
      if (/\s/.test(src[i - 1]) || /[\p{L}\p{N}$]/u.test(src[i + 1] ?? '')) return undefined;
      const tex = src.slice(1, i);
      if (/^[\d.,]+\s*(?:[–-]|\p{L}{2,}|[,;:])/u.test(tex) && !/[\\^_={}]/.test(tex)) return undefined;
      return { raw: src.slice(0, i + 1), tex, display: false };
    }
  }
  return undefined;
}

/** Where the next formula may begin in `src`, or -1. A dollar after a letter or digit ("US$5") opens none. */
export function mathStart(src) {
  return src.search(/(?<![\p{L}\p{N}\\$])\$|\\[([]/u);
}

/** A formula that stands alone as a block: $$…$$ or \[…\] up to the end of a line. */
export function mathBlockAt(src) {
  const indent = /^ {0,3}(?=\$\$|\\\[)/.exec(src);
  if (!indent) return undefined;
  const found = mathAt(src.slice(indent[0].length));
  if (!found) return undefined;
  const length = indent[0].length + found.raw.length;
  const rest = /^[ \t]*[.,;]?[ \t]*(?:\n|$)/.exec(src.slice(length, length + 200));
  return rest ? { ...found, raw: src.slice(0, length + rest[0].length) } : undefined;
}
