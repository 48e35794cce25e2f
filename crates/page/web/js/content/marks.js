// Marks that are stacked on one letter by the hundred keep a browser busy for seconds: past some, they are
// set on an empty place of their own.

const RUN = /\p{M}{33,}/gu;

/** A text as it is shown; a longer text begins as a shorter one does. */
export const breakMarks = (text) => text.replace(RUN, (run) => [...run].map((mark, at) => (at && at % 32 === 0 ? `\u200B${mark}` : mark)).join(''));

/** The same for a tree of nodes: their texts and properties that are texts. */
export function breakMarksIn(node) {
  if (typeof node === 'string') return breakMarks(node);
  return node?.c ? { ...node, c: node.c.map(breakMarksIn) } : node;
}
