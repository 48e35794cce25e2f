// The page's words. One file a language in /page/lang; plurals by the language's own rules.

export const LANGUAGES = { en: 'English', fr: 'Français' };

let words = {};
let plural = new Intl.PluralRules('en');
export let lang = 'en';
/** The reader's own kind of the language, for dates and numbers: en-GB for English, if it is theirs. */
let locale = 'en';

/** The first language of the reader's that there is. */
export function choose(wanted, offered = Object.keys(LANGUAGES)) {
  for (const tag of wanted) {
    const base = String(tag).toLowerCase().split('-')[0];
    if (offered.includes(base)) return base;
  }
  return 'en';
}

export function use(tag, table) {
  lang = tag;
  words = table;
  plural = new Intl.PluralRules(tag);
  locale = globalThis.navigator?.languages?.find((each) => each.split('-')[0] === tag) ?? tag;
}

export async function load(tag) {
  const response = await fetch(`/page/lang/${tag}.json`);
  use(tag, await response.json());
  document.documentElement.lang = tag;
}

function text(key, values) {
  const entry = words[key];
  if (entry === undefined) return key;
  if (typeof entry === 'string') return entry;
  return entry[plural.select(Number(values.n) || 0)] ?? entry.other ?? key;
}

const PLACE = /\{(\w+)\}/;

/** The text of a key. `{name}` in it is replaced; numbers are written as the language does. */
export function t(key, values = {}) {
  return text(key, values).split(PLACE)
    .map((piece, at) => (at % 2 ? shown(values[piece]) : piece)).join('');
}

/** The same, as nodes: values may be nodes, and texts are isolated so that no name turns the line round. */
export function tNodes(key, values = {}) {
  return text(key, values).split(PLACE).map((piece, at) => {
    if (at % 2 === 0) return piece;
    const value = values[piece];
    if (typeof value === 'object' && value) return value;
    const isolated = document.createElement('bdi');
    isolated.textContent = shown(value);
    return isolated;
  });
}

function shown(value) {
  if (typeof value === 'number') return number(value);
  return value === undefined || value === null ? '' : String(value);
}

export const number = (value, digits) => new Intl.NumberFormat(locale,
  digits === undefined ? {} : { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** 4096 → "4.1K". */
export const short = (value) => new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 }).format(value);

export const percent = (share) => new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 }).format(share);

export const date = (unix, options = { dateStyle: 'medium', timeStyle: 'short' }) =>
  new Intl.DateTimeFormat(locale, options).format(new Date(unix * 1000));

/** Bytes in units that people say. */
export function bytes(count) {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];
  let value = Number(count) || 0;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return new Intl.NumberFormat(locale, { style: 'unit', unit: units[unit], unitDisplay: 'short', maximumFractionDigits: unit > 2 ? 1 : 0 }).format(value);
}
