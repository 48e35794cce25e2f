//! Parallel loops over the rows of activations, without `unsafe` in the code that uses them.
//!
//! A loop is cut into tasks by its shapes alone and each row is computed by itself, so that results
//! are the same bits on any number of threads. A loop too small for two tasks runs in its caller.
#![allow(unsafe_code)] // disjoint rows of one slice for the tasks of one loop

use std::ops::Range;

use crate::{Context, SharedMut, ThreadPool};

/// Elements a task should have: some microseconds' work, many times the cost of starting a loop.
pub const ELEMENTS_PER_TASK: usize = 16 << 10;

/// Runs `work(rows, a_part, b_part)` over parts of two slices that hold `rows` rows each.
///
/// Row i of `a` starts at `i · a_stride`; the part handed out starts at its first row and ends with
/// the slice or where the next part begins. `b` likewise.
///
/// # Panics
/// A row starts beyond the end of its slice.
pub fn for_row_parts<A: Send, B: Send>(
    ctx: &Context,
    rows: usize,
    (a, a_stride): (&mut [A], usize),
    (b, b_stride): (&mut [B], usize),
    work: impl Fn(Range<usize>, &mut [A], &mut [B]) + Sync,
) {
    let rows_per_task = (ELEMENTS_PER_TASK / a_stride.max(1)).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    let (a_len, b_len) = (a.len(), b.len());
    for (stride, len) in [(a_stride, a_len), (b_stride, b_len)] {
        let last = rows.saturating_sub(1).saturating_mul(stride);
        assert!(last <= len, "{rows} rows of {stride} are beyond {len}");
    }
    let (a, b) = (SharedMut::new(a), SharedMut::new(b));
    ctx.pool().run(tasks, &|task| {
        let part = task * rows_per_task..rows.min((task + 1) * rows_per_task);
        let elements = |stride: usize, len: usize| {
            let end = if part.end == rows {
                len
            } else {
                part.end * stride
            };
            part.start * stride..end
        };
        // SAFETY: tasks have disjoint ranges of rows, whose starts do not overflow (checked above),
        // so their elements are disjoint too.
        let (a, b) = unsafe {
            (
                a.slice_mut(elements(a_stride, a_len)),
                b.slice_mut(elements(b_stride, b_len)),
            )
        };
        work(part, a, b);
    });
}

/// As [`for_row_parts`] over one slice.
pub fn for_row_part<A: Send>(
    ctx: &Context,
    rows: usize,
    a: (&mut [A], usize),
    work: impl Fn(Range<usize>, &mut [A]) + Sync,
) {
    for_row_parts(ctx, rows, a, (&mut [(); 0], 0), |rows, a, _| work(rows, a));
}

/// Runs `work` once on each of `items`, each a task: for work that is large and uneven.
pub fn for_each<T: Send>(pool: &ThreadPool, items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let len = items.len();
    let items = SharedMut::new(items);
    pool.run(len, &|task| {
        // SAFETY: every task has an item of its own.
        unsafe { items.slice_mut(task..task + 1) }
            .iter_mut()
            .for_each(&work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for threads in [1, 2, 3] {
            let pool = ThreadPool::new(threads);
            for len in [0, 1, 2, 100] {
                let mut items: Vec<usize> = (0..len).collect();
                for_each(&pool, &mut items, |item| *item += 1);
                assert!(items.into_iter().eq(1..=len));
            }
        }
    }

    #[test]
    #[should_panic(expected = "4 rows of 3 are beyond 8")]
    fn rows_beyond_their_slice_are_refused() {
        let ctx = &crate::testing::contexts()[0];
        for_row_part(ctx, 4, (&mut [0.0; 8], 3), |_, _| ());
    }
}
