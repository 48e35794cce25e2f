// Judges addresses and invisible characters in what a model wrote. Pure functions, used by the worker
// and, as a second check right before an element is made, by the page.

const BIDI = /[\u202A-\u202E\u2066-\u2069]/;
const BIDI_SPLIT = /([\u202A-\u202E\u2066-\u2069])/;
// Characters that have no place in an address but can make one look like another.
const INVISIBLE = /[\u0000-\u0020\u007F-\u00A0\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202F\u2060-\u206F\uFEFF]/g;
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);
const MAX_ADDRESS = 8192;
const MAX_PICTURE = 2 * 1024 * 1024 * 4 / 3;
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+=*$/;
const LOOKS_LIKE_ADDRESS = /^(?:[a-z][a-z0-9+.-]*:\/*)?(?:[^\s/@]*@)?((?:[\p{L}\p{N}-]+\.)+[\p{L}][\p{L}\p{N}-]+|\d+(?:\.\d+){3}|localhost)(?::\d+)?([/?#]\S*)?$/iu;
const SURELY_ADDRESS = /^(?:[a-z][a-z0-9+.-]*:\/|www\.)|\.(?:com|org|net|io|dev|edu|gov|info|co)(?:[/:?#]|$)/i;
const FILE = /^[\w.-]+\.(?:js|ts|json|html|txt|toml|ya?ml|css|cpp|pdf|png|jpg|svg|xml|csv)$/i;

/** The address in the form the browser will open, or null where it may not be a link. */
export function safeAddress(address) {
  const clean = String(address).replace(INVISIBLE, '');
  if (!clean || clean.length > MAX_ADDRESS) return null;
  let url;
  try {
    url = new URL(clean);
  } catch {
    return null;
  }
  return SCHEMES.has(url.protocol) ? url.href : null;
}

/** The address of a picture that is in the text itself; a picture of any other kind is never fetched. */
export function safePicture(address) {
  return address.length <= MAX_PICTURE && PICTURE.test(address) ? address : null;
}

/** Whether a link's text reads as an address other than the one that it leads to. */
export function misleads(text, address) {
  const url = new URL(address);
  if (url.username || url.password) return true;
  const shown = String(text).normalize('NFKC').replace(INVISIBLE, (c) => /\s/.test(c) && c !== '\uFEFF' ? ' ' : '');
  if (url.protocol === 'mailto:') {
    return shown.includes('@') && shown.trim().toLowerCase().replace(/^mailto:/, '') !== decode(url.pathname).toLowerCase();
  }
  const words = shown.trim().split(/\s+/);
  return words.some((word) => {
    const match = LOOKS_LIKE_ADDRESS.exec(word);
    if (!match || FILE.test(word) || (words.length > 1 && !SURELY_ADDRESS.test(word))) return false;
    return differs(word, match[1], match[2] ?? '', url);
  });
}

function differs(word, name, path, url) {
  let host;
  try {
    // The parser gives names in their ASCII form, which tells look-alike letters apart.
    host = new URL(`${url.protocol}//${name}`).hostname;
  } catch {
    return true;
  }
  const bare = (text) => text.replace(/^www\./, '');
  if (bare(host) !== bare(url.hostname) || word.includes('@')) return true;
  return !decode(url.pathname + url.search + url.hash).startsWith(decode(path).replace(/(?:…|\.\.\.|\/)$/, ''));
}

function decode(text) {
  try {
    return decodeURI(text);
  } catch {
    return text;
  }
}

/** Splits text so that controls that reorder it stand alone, as {t: 'bidi', cp}: they are shown as marks. */
export function splitBidi(text) {
  if (!BIDI.test(text)) return text ? [text] : [];
  return text.split(BIDI_SPLIT).filter(Boolean)
    .map((part) => BIDI.test(part) ? { t: 'bidi', cp: part.codePointAt(0).toString(16).toUpperCase() } : part);
}

/** Whether a line is so long that the browser would take seconds to lay out some texts with kerning. */
export function hasLongLine(text) {
  return /[^\n]{3000}/.test(text);
}
