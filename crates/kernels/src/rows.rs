//! Parallel loops over the rows of activations, without `unsafe` in the kernels that use them.
#![allow(unsafe_code)] // disjoint rows of one slice for the tasks of one loop

use std::ops::Range;

use crate::{Context, SharedMut};

/// Elements a task should have: some microseconds' work, many times the cost of starting a loop.
const ELEMENTS_PER_TASK: usize = 16 << 10;

/// Runs `work(rows, a_part, b_part)` over parts of two slices that hold `rows` rows each.
///
/// Row i of `a` starts at `i · a_stride`; the part handed out starts at its first row and ends with
/// the slice or where the next part begins. `b` likewise.
pub(crate) fn for_row_parts<A: Send, B: Send>(
    ctx: &Context,
    rows: usize,
    (a, a_stride): (&mut [A], usize),
    (b, b_stride): (&mut [B], usize),
    work: impl Fn(Range<usize>, &mut [A], &mut [B]) + Sync,
) {
    let rows_per_task = (ELEMENTS_PER_TASK / a_stride.max(1)).max(1);
    let tasks = rows.div_ceil(rows_per_task);
    let (a_len, b_len) = (a.len(), b.len());
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
        // SAFETY: tasks have disjoint ranges of rows, so their elements are disjoint too.
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
pub(crate) fn for_row_part<A: Send>(
    ctx: &Context,
    rows: usize,
    a: (&mut [A], usize),
    work: impl Fn(Range<usize>, &mut [A]) + Sync,
) {
    for_row_parts(ctx, rows, a, (&mut [(); 0], 0), |rows, a, _| work(rows, a));
}
