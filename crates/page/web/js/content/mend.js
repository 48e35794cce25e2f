// Makes the unfinished end of a stream read well: emphasis that is not closed yet is closed, a link
// that is half there shows its text, and a line that may still turn out to be a table or an underline
// waits. Only what is shown changes; the text itself stays as it came. Pure.

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})/;

/** Whether `text` ends inside a fenced code block. */
export function inFence(text) {
  let open = null;
  for (const line of text.split('\n')) {
    const found = FENCE.exec(line.replace(/^[ \t]*(?:>[ \t]?|[*+-][ \t]+|\d{1,9}[.)][ \t]+)*/, '')) ?? FENCE.exec(line);
    if (!found) continue;
    if (!open) open = found[1];
    else if (found[1][0] === open[0] && found[1].length >= open.length && /^[\s>]*[`~]+\s*$/.test(line)) open = null;
  }
  return open !== null;
}

/** `text` as it is to be shown while more of it is on its way. */
export function mend(text) {
  if (inFence(text)) return text.replace(/\n[ \t]*[`~]{1,2}$/, '');
  const start = text.lastIndexOf('\n\n') + 1;
  let tail = text.slice(start);
  if (tail.length > 20000) return text;
  if (/(?:^|\n) {0,3}(?:\$\$|\\\[)[^$]*$/.test(tail) && !/\\\]/.test(tail)) return text;
  // "Title" + "\n---" is a heading, but "---" may go on as a rule, a table or a list.
  tail = tail.replace(/(\S[^\n]*)\n {0,3}(?:-{1,}|=+)[ \t]*$/, '$1');
  // The first line of a table waits for the line of dashes below it.
  const lines = tail.replace(/^\n/, '').split('\n');
  if (/^ {0,3}\|/.test(lines[0]) && (lines.length === 1 || (lines.length === 2 && /^[ \t|:-]*$/.test(lines[1])))) {
    const dashes = lines[1] ?? '';
    if (cells(dashes) < cells(lines[0])) return text.slice(0, start);
  }
  const last = tail.lastIndexOf('\n') + 1;
  return text.slice(0, start) + closeInline(tail, last);
}

function cells(line) {
  return line.split(/(?<!\\)\|/).filter((cell) => cell.trim()).length;
}

// Emphasis may run over lines of one paragraph, but not out of the list item or heading that it began in.
function closeInline(tail, lastLine) {
  let from = 0;
  const item = /(?:^|\n)[ \t>]*(?:[*+-]|\d{1,9}[.)]|#{1,6}|>)[ \t]+(?=[^\n]*$)/.exec(tail);
  if (item) from = item.index + item[0].length;
  else if (/^[ \t]*\|/.test(tail.slice(lastLine))) from = Math.max(lastLine, tail.lastIndexOf('|') + 1);
  const head = tail.slice(0, from);
  let body = tail.slice(from);
  const open = [];
  for (let i = 0; i < body.length;) {
    const c = body[i];
    if (c === '\\') {
      i += 2;
    } else if (c === '`') {
      const run = /^`+/.exec(body.slice(i))[0];
      const end = body.indexOf(run, i + run.length);
      if (end < 0) {
        const code = body.slice(i + run.length);
        body = code.trim() ? body.replace(/`+$/, '') + run : body.slice(0, i);
        break;
      }
      i = end + run.length;
    } else if (c === '$') {
      const end = body.indexOf('$', i + 1);
      i = end > 0 && !/\s/.test(body[i + 1]) && !/\s/.test(body[end - 1]) ? end + 1 : i + 1;
    } else if (c === '*' || c === '_' || c === '~') {
      const run = new RegExp(`^[${c}]+`).exec(body.slice(i))[0];
      const before = body[i - 1] ?? ' ';
      const after = body[i + run.length];
      const intraword = c === '_' && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after ?? '');
      if ((c === '~' ? run.length === 2 : run.length <= 3) && !intraword) {
        if (open.at(-1) === run && !/\s/.test(before)) open.pop();
        else if (open.length && open.at(-1)[0] === c && !/\s/.test(before) && (after === undefined || /[\s\p{P}]/u.test(after))) {
          // "**bold*": the second asterisk of the end is still to come.
          if (after === undefined) {
            body = body.slice(0, i);
            break;
          }
          const rest = open.pop().slice(run.length);
          if (rest) open.push(rest);
        } else if (after === undefined) {
          body = body.slice(0, i);
          break;
        } else if (!/\s/.test(after)) open.push(run);
      }
      i += run.length;
    } else if (c === ']' && body[i + 1] === '(') {
      const end = body.indexOf(')', i);
      if (end < 0) {
        if (body.length - i < 4000 && !body.slice(i).includes('\n')) {
          const begin = body.lastIndexOf('[', i);
          if (begin >= 0) {
            const image = body[begin - 1] === '!' ? 1 : 0;
            body = body.slice(0, begin - image) + body.slice(begin + 1, i);
          }
        }
        break;
      }
      i = end + 1;
    } else i++;
  }
  // So many are no emphasis that somebody is writing.
  if (open.length && open.length <= 6) body = body.replace(/[ \t]+$/, '') + open.reverse().join('');
  return head + body;
}
