//! Which rows of a step have which adapter.

use std::sync::Arc;

use super::linear::Adapted;
use super::loaded::Adapter;
use crate::backend::Backend;
use crate::error::Result;
use crate::forward_batch::ForwardBatch;

/// The rows of a tensor by their adapter. Rows without one are in none of the groups; most steps have
/// no group at all.
#[derive(Debug, Default)]
pub(crate) struct AdapterRows {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    adapter: Arc<Adapter>,
    /// Ascending.
    rows: Vec<u32>,
}

impl AdapterRows {
    /// The rows of `batch`, in groups by the order in which their adapters first appear.
    pub(crate) fn of(batch: &ForwardBatch) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (request, adapter) in batch.adapters.iter().enumerate() {
            let Some(adapter) = adapter else { continue };
            let rows = batch.query_start_loc[request]..batch.query_start_loc[request + 1];
            match groups.iter_mut().find(|group| group.adapter == *adapter) {
                Some(group) => group.rows.extend(rows),
                None => groups.push(Group {
                    adapter: Arc::clone(adapter),
                    rows: rows.collect(),
                }),
            }
        }
        Self { groups }
    }

    /// The same for a tensor of some of the rows; `selected` ascend.
    pub(crate) fn select(&self, selected: &[u32]) -> Self {
        let groups = self.groups.iter().filter_map(|group| {
            let place = |row: &u32| selected.binary_search(row).ok().map(|place| place as u32);
            let rows: Vec<u32> = group.rows.iter().filter_map(place).collect();
            (!rows.is_empty()).then(|| Group {
                adapter: Arc::clone(&group.adapter),
                rows,
            })
        });
        Self {
            groups: groups.collect(),
        }
    }

    /// What the adapters make of the output `y` that linear layer `number` has for `x`.
    pub(crate) fn apply<'a, B: Backend>(
        &'a self,
        backend: &B,
        number: usize,
        x: &B::Tensor,
        y: B::Tensor,
    ) -> Result<B::Tensor> {
        let of = |group: &'a Group| Some((group.adapter.linear(number)?, group.rows.as_slice()));
        let adapted: Vec<Adapted<'_>> = self.groups.iter().filter_map(of).collect();
        match adapted.is_empty() {
            true => Ok(y),
            false => backend.adapt(&adapted, x, y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter() -> Arc<Adapter> {
        Arc::new(Adapter::new(0, Vec::new(), 0))
    }

    fn rows(of: &AdapterRows) -> Vec<Vec<u32>> {
        of.groups.iter().map(|group| group.rows.clone()).collect()
    }

    #[test]
    fn rows_are_grouped_by_adapter_and_follow_a_selection() {
        let (one, other) = (adapter(), adapter());
        let mut batch = ForwardBatch::default();
        batch.push_request(&[1, 2], 0, &[0], [1]);
        batch.push_request(&[3, 4], 0, &[1], [1]);
        batch.set_adapter(one.clone());
        batch.push_request(&[5], 0, &[2], [0]);
        batch.set_adapter(other);
        batch.push_request(&[6], 0, &[3], [0]);
        batch.set_adapter(one);
        let all = AdapterRows::of(&batch);
        assert_eq!(rows(&all), [vec![2, 3, 5], vec![4]]);
        assert_eq!(rows(&all.select(&[0, 3, 5])), [vec![1, 2]]);
        assert_eq!(rows(&all.select(&[1, 4])), [vec![1]]);
        assert!(all.select(&[0]).groups.is_empty());
    }

    #[test]
    fn a_step_without_adapters_has_no_groups() {
        let mut batch = ForwardBatch::default();
        batch.push_request(&[1, 2], 0, &[0], [1]);
        assert!(AdapterRows::of(&batch).groups.is_empty());
    }
}
