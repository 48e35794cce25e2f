// A conversation as Markdown, for those that the browser keeps itself.

import { build, contentText, leafOf, pathTo } from '../tree.js';

const quote = (text) => text.split('\n').map((line) => `> ${line}`).join('\n');

export function toMarkdown(conversation) {
  const tree = build(conversation.messages);
  const out = [`# ${conversation.title || 'Conversation'}`];
  for (const message of pathTo(tree, conversation.leaf ?? leafOf(tree))) {
    const name = { user: 'User', assistant: `Assistant${message.model ? ` (${message.model})` : ''}`, system: 'System', tool: 'Tool' }[message.role] ?? message.role;
    out.push(`## ${name}`);
    if (message.reasoning) out.push(quote(`**Thoughts**\n\n${message.reasoning}`));
    out.push(contentText(message.content));
    if (message.tool_calls?.length) out.push(`\`\`\`json\n${JSON.stringify(message.tool_calls, null, 2)}\n\`\`\``);
  }
  return `${out.filter(Boolean).join('\n\n')}\n`;
}
