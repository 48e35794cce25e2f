// The messages of a conversation are a tree: every edit and every new answer is a sibling of what was
// there. These functions know nothing of the page.

/** A tree of messages, parents before children or not. */
export function build(messages = []) {
  const tree = { byId: new Map(), children: new Map() };
  for (const message of messages) tree.byId.set(message.id, message);
  for (const message of tree.byId.values()) link(tree, message);
  return tree;
}

// A message whose parent is not there is shown as a beginning rather than lost.
const parentOf = (tree, message) => (tree.byId.has(message.parent) && message.parent !== message.id ? message.parent : null);

function link(tree, message) {
  const parent = parentOf(tree, message);
  const list = tree.children.get(parent);
  if (!list) tree.children.set(parent, [message.id]);
  else if (!list.includes(message.id)) list.push(message.id);
}

/** Adds a message, or takes the newer state of one. */
export function put(tree, message) {
  const known = tree.byId.get(message.id);
  if (known) return Object.assign(known, message);
  tree.byId.set(message.id, message);
  link(tree, message);
  return message;
}

/** The messages from the beginning to `leaf`. */
export function pathTo(tree, leaf) {
  const path = [];
  const seen = new Set();
  for (let at = tree.byId.get(leaf); at && !seen.has(at.id); at = tree.byId.get(parentOf(tree, at))) {
    seen.add(at.id);
    path.push(at);
  }
  return path.reverse();
}

/** The end of the newest branch below a message (null: of the whole tree). */
export function leafOf(tree, id = null) {
  let at = id;
  const seen = new Set();
  for (;;) {
    const below = tree.children.get(at);
    if (!below?.length || seen.has(at)) return at;
    seen.add(at);
    at = below[below.length - 1];
  }
}

/** Where a message stands among those with the same parent: { ids, index }. */
export function siblings(tree, id) {
  const message = tree.byId.get(id);
  if (!message) return { ids: [], index: -1 };
  const ids = tree.children.get(parentOf(tree, message)) ?? [id];
  return { ids, index: ids.indexOf(id) };
}

/** Takes a message and all below it away; gives their ids. */
export function remove(tree, id) {
  const message = tree.byId.get(id);
  if (!message) return [];
  const gone = [];
  const left = [id];
  while (left.length) {
    const next = left.pop();
    gone.push(next);
    left.push(...(tree.children.get(next) ?? []));
  }
  const parent = parentOf(tree, message);
  const list = (tree.children.get(parent) ?? []).filter((other) => other !== id);
  if (list.length) tree.children.set(parent, list);
  else tree.children.delete(parent);
  for (const each of gone) { tree.byId.delete(each); tree.children.delete(each); }
  return gone;
}

/** Where to go when `id` is deleted: the neighbouring answer, or what was asked. */
export function afterRemoval(tree, id) {
  const { ids, index } = siblings(tree, id);
  const beside = ids[index - 1] ?? ids[index + 1];
  return beside ?? parentOf(tree, tree.byId.get(id) ?? {});
}

/** The text of a message's content, which may be a list of parts. */
export function contentText(content) {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((piece) => (typeof piece === 'string' ? piece : piece?.text ?? '')).join('');
}

/** The beginning of a text as a title: its first line, at most 60 characters, whole words. */
export function titleOf(text, most = 60) {
  const line = contentText(text).trim().split(/\n/, 1)[0].replace(/\s+/g, ' ').replace(/^[#>*\-\s]+/, '');
  if (line.length <= most) return line;
  const cut = line.slice(0, most).replace(/[\uD800-\uDBFF]$/, '');
  const word = cut.lastIndexOf(' ');
  return `${word > most / 2 ? cut.slice(0, word) : cut}…`;
}
