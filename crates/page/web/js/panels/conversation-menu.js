// What can be done with a conversation as a whole; used by the sidebar and by the top bar.

import { download } from '../dom.js';
import { t } from '../i18n.js';
import { attempt, confirm, prompt, toast } from '../overlay.js';
import { emit, state } from '../state.js';
import { store } from '../store/index.js';

const fileName = (title) => (title || t('untitled')).replace(/[\\/:*?"<>|\p{C}]+/gu, ' ').trim().slice(0, 60) || 'conversation';

const change = (item, fields) => attempt(async () => {
  const changed = await store.update(item.id, fields);
  emit('changed', changed);
});

export function conversationMenu(item, folders = []) {
  const save = (format, type, extension) => () => attempt(async () => {
    download(`${fileName(item.title)}.${extension}`, await store.exportOne(item.id, format), type);
  });
  const reading = [
    { label: t('conversation.exportMarkdown'), icon: 'export', action: save('markdown', 'text/markdown', 'md') },
    { label: t('conversation.exportJson'), icon: 'export', action: save('json', 'application/json', 'json') },
  ];
  if (state.offline) return reading;
  return [
    { label: t('conversation.rename'), icon: 'edit', testid: 'rename', action: () => rename(item) },
    { label: item.pinned ? t('conversation.unpin') : t('conversation.pin'), icon: 'pin', testid: 'pin', action: () => change(item, { pinned: !item.pinned }) },
    { label: t('conversation.move'), icon: 'folder', testid: 'move', action: () => move(item, folders) },
    null,
    ...reading,
    null,
    { label: t('conversation.delete'), icon: 'trash', danger: true, testid: 'delete-conversation', action: () => remove(item) },
  ];
}

export async function rename(item) {
  const title = await prompt({ title: t('conversation.rename'), label: t('conversation.title'), value: item.title });
  if (title !== null) await change(item, { title });
}

async function move(item, folders) {
  const folder = await prompt({ title: t('conversation.move'), label: t('conversation.folder'), value: item.folder ?? '', suggestions: folders });
  if (folder !== null) await change(item, { folder: folder || null });
}

async function remove(item) {
  const yes = await confirm({
    title: t('conversation.deleteTitle'),
    text: t('conversation.deleteText', { title: item.title || t('untitled') }),
    yes: t('conversation.delete'),
  });
  if (!yes) return;
  await attempt(async () => {
    await store.delete(item.id);
    emit('deleted', item.id);
    emit('changed', item);
    toast(t('conversation.deleted'));
  });
}
