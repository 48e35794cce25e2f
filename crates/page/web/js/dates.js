// Groups a list that is sorted by time: today, yesterday, the last week, the last month, months.

/** Which group a time (unix seconds) belongs to: { key, label key or month }. `now` is a Date. */
export function groupOf(unix, now = new Date()) {
  const day = (date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000;
  const then = new Date(unix * 1000);
  const days = day(now) - day(then);
  if (days <= 0) return { key: 'today' };
  if (days === 1) return { key: 'yesterday' };
  if (days <= 7) return { key: 'week' };
  if (days <= 30) return { key: 'month' };
  return { key: `${then.getFullYear()}-${then.getMonth() + 1}`, month: unix };
}

/** [{ key, month?, items }], pinned ones in a group of their own at the top. */
export function group(items, now = new Date()) {
  const groups = [];
  for (const item of items) {
    const { key, month } = item.pinned ? { key: 'pinned' } : groupOf(item.updated_at ?? 0, now);
    let last = groups[groups.length - 1];
    if (last?.key !== key) {
      last = { key, month, items: [] };
      groups.push(last);
    }
    last.items.push(item);
  }
  return groups;
}
