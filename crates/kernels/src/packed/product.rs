//! The matrix product: inputs quantised once, the work cut into tasks, the tasks run on the pool.
#![allow(unsafe_code)] // tasks write disjoint parts of the output

use std::cell::RefCell;
use std::ops::Range;

use super::matrix::PackedMatrix;
use crate::context::Context;
use crate::matmul::integer::SWEEP_TILE;
use crate::matmul::task::{Inputs, MatmulTask, Output};
use crate::memory::SharedMut;
use crate::quant::codes::STRIP_ROWS;
use crate::quant::inputs::{self, InputGroup};
use crate::simd::dots::GROUP;

/// Weights that a task reads at most: enough to hide the cost of taking a task, little enough that
/// a thread which lost its core for a while does not keep the others waiting.
const TASK_BYTES: usize = 192 << 10;
/// Weights below which another task does not pay.
const MIN_TASK_BYTES: usize = 16 << 10;
/// Most rows of inputs of a task. At 2048 columns their codes take 590 KB: they stay in an L2 of 1
/// MB while strips pass by.
pub(super) const TASK_TOKENS: usize = 192;
/// Inputs from which quantising them is worth another thread.
const PARALLEL_INPUTS: usize = 32 << 10;

thread_local! {
    /// Quantised inputs, kept for the next product.
    static QUANTIZED: RefCell<Vec<InputGroup>> = const { RefCell::new(Vec::new()) };
}

/// `out[t, n] = x[t, k] · Wᵀ` for each of the matrices `ws`, whose outputs stand side by side:
/// `out` is row-major `[t, Σ rows]`.
///
/// Quantised weights are multiplied with inputs rounded to 8 bits with a scale for each 32, float
/// weights with the inputs as they are. Each row of `out` depends on its row of `x` alone, and is
/// the same bits whatever the other rows, the threads and the instruction set.
///
/// # Panics
/// If the matrices differ in columns, or `x` and `out` do not hold the same number of rows.
pub fn matmul(ctx: &Context, ws: &[&PackedMatrix], x: &[f32], out: &mut [f32]) {
    let Some(first) = ws.first() else { return };
    let cols = first.cols();
    let width: usize = ws.iter().map(|w| w.rows()).sum();
    let tokens = x.len() / cols;
    assert!(
        ws.iter().all(|w| w.cols() == cols),
        "matrices that share an input have equal columns"
    );
    assert_eq!(x.len(), tokens * cols, "the input is whole rows of {cols}");
    assert_eq!(
        out.len(),
        tokens * width,
        "the output is {tokens} rows of {width}"
    );

    QUANTIZED.with_borrow_mut(|quantized| {
        // An even number, so that formats with blocks of 64 columns find whole blocks.
        let groups = cols.div_ceil(2 * GROUP) * 2;
        // An odd number of 48 bytes: equal columns of neighbouring rows then lie in different banks
        // of the L1 cache, which serves two loads a cycle only if their banks differ.
        let stride = groups + 1;
        if ws.iter().any(|w| w.layout().quantizes_inputs()) {
            if quantized.len() < tokens * stride {
                quantized.resize(tokens * stride, InputGroup::default());
            }
            quantize(ctx, x, cols, quantized, stride);
        }
        let inputs = Inputs {
            cols,
            floats: x,
            quantized,
            groups,
            stride,
        };
        run(
            ctx,
            ws,
            inputs,
            tokens,
            Output {
                data: SharedMut::new(out),
                width,
                first: 0,
            },
        );
    });
}

/// Quantises all rows, on all threads if there are many.
fn quantize(ctx: &Context, x: &[f32], cols: usize, quantized: &mut [InputGroup], stride: usize) {
    let rows_per_task = PARALLEL_INPUTS.div_ceil(cols);
    let tasks = (x.len() / cols).div_ceil(rows_per_task);
    let quantized = SharedMut::new(quantized);
    ctx.pool().run(tasks, &|task| {
        let rows = x.chunks_exact(cols).enumerate();
        for (row, x) in rows.skip(task * rows_per_task).take(rows_per_task) {
            // SAFETY: each row is in one task, and has groups of its own.
            let groups = unsafe { quantized.slice_mut(row * stride..(row + 1) * stride) };
            inputs::quantize(ctx.isa(), x, groups);
        }
    });
}

/// Cuts the products into tasks, and runs them.
fn run(ctx: &Context, ws: &[&PackedMatrix], inputs: Inputs<'_>, tokens: usize, out: Output<'_>) {
    let bytes: usize = ws.iter().map(|w| w.bytes()).sum();
    let task_bytes = task_bytes(ctx, bytes);
    let cuts = |w: &PackedMatrix| w.cuts(task_bytes);
    let tasks_per_tile: usize = ws.iter().map(|w| cuts(w).1).sum();
    let tiles = tokens.div_ceil(TASK_TOKENS).max(1);
    // Whole tiles of the sweep, but for the last.
    let tile = tokens.div_ceil(tiles).next_multiple_of(SWEEP_TILE);
    ctx.pool().run(tiles * tasks_per_tile, &|task| {
        // All strips for one tile of inputs, then all for the next: the tile stays in the cache.
        let token_range = part(task / tasks_per_tile, tile, tokens);
        let mut task = task % tasks_per_tile;
        let mut first = 0;
        for w in ws {
            let (strips, tasks) = cuts(w);
            if task < tasks {
                let strip_range = part(task, strips, w.strips());
                let out = Output { first, ..out };
                w.multiply(ctx.isa(), strip_range, inputs, token_range, out);
                return;
            }
            task -= tasks;
            first += w.rows();
        }
    });
}

/// Bytes of weights that a task should read, of `bytes` in all.
pub(super) fn task_bytes(ctx: &Context, bytes: usize) -> usize {
    (bytes / (4 * ctx.pool().threads())).clamp(MIN_TASK_BYTES, TASK_BYTES)
}

/// The `i`-th range of `size` in `0..total`.
pub(super) fn part(i: usize, size: usize, total: usize) -> Range<usize> {
    i * size..((i + 1) * size).min(total)
}

impl PackedMatrix {
    /// Strips of a task that reads so many bytes, and the number of such tasks.
    pub(super) fn cuts(&self, task_bytes: usize) -> (usize, usize) {
        // In pairs, as the kernels like them.
        let strips = (task_bytes / self.strip_bytes()).next_multiple_of(2).max(2);
        (strips, self.strips().div_ceil(strips))
    }

    pub(super) fn strips(&self) -> usize {
        self.rows().div_ceil(STRIP_ROWS)
    }

    pub(super) fn multiply(
        &self,
        isa: crate::Isa,
        strip_range: Range<usize>,
        inputs: Inputs<'_>,
        token_range: Range<usize>,
        out: Output<'_>,
    ) {
        let task = MatmulTask {
            strips: self.data(),
            strip_bytes: self.strip_bytes(),
            rows: self.rows(),
            strip_range,
            inputs,
            token_range,
            out,
        };
        self.layout().multiply(isa, &task);
    }
}
