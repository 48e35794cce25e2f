// Text files that are sent along: each becomes a fenced block, headed by its name.

export const MOST = 1_000_000;
const LANGUAGES = {
  py: 'python', js: 'javascript', mjs: 'javascript', ts: 'typescript', rs: 'rust', rb: 'ruby', sh: 'bash', yml: 'yaml', md: 'markdown',
  h: 'c', cc: 'cpp', hpp: 'cpp', cs: 'csharp', kt: 'kotlin', htm: 'html', txt: '', log: '',
};

/** The message that a text and files make. */
export const withFiles = (text, files) => [text, ...files.map(({ name, text: content }) => block(name, content))].filter(Boolean).join('\n\n');

function block(name, text) {
  const ending = /\.([a-z0-9+#-]{1,12})$/i.exec(name)?.[1].toLowerCase() ?? '';
  // Longer than any fence inside, so that the block ends where the file does.
  const longest = Math.max(2, ...[...text.matchAll(/^ *(`{3,})/gm)].map(([, ticks]) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `${name.replace(/\p{C}/gu, ' ')}\n${fence}${LANGUAGES[ending] ?? ending}\n${text.replace(/\n$/, '')}\n${fence}`;
}

/** Reads files; gives { files, refused: [[reason, name]] }, with `used` bytes attached already. */
export async function readFiles(list, used) {
  const files = [];
  const refused = [];
  let left = MOST - used;
  for (const file of list) {
    if (/^(image|audio|video)\//.test(file.type) && file.type !== 'image/svg+xml') refused.push(['media', file.name]);
    else if (file.size > left) refused.push(['large', file.name]);
    else {
      const text = await textOf(file);
      if (text === null) { refused.push(['binary', file.name]); continue; }
      files.push({ name: file.name, text, size: file.size });
      left -= file.size;
    }
  }
  return { files, refused };
}

async function textOf(file) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    return text.includes('\0') ? null : text.replaceAll('\r\n', '\n');
  } catch {
    return null;
  }
}
