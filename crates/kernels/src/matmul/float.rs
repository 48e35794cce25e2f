//! Products with F32, F16 and BF16 weights.
//!
//! ```text
//! strip = column 0: 16 rows │ column 1: 16 rows │ …       in the width of the format
//! ```
//!
//! For each output, in this order on every path: the products of 32 columns are added up by fused
//! multiply-adds from zero, and that sum is added to the total. Short chains keep rounding errors
//! small, and leave the CPU independent work while one multiply-add waits for another.
#![allow(unsafe_code)] // vectors
#![expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and column"
)]

use std::marker::PhantomData;

use super::task::MatmulTask;
use crate::quant::codes::STRIP_ROWS;
use crate::quant::number::Number;
use crate::simd::dots::{DotKernel, Dots};

/// Columns that are added up before they join the total.
const CHAIN: usize = 32;

/// Reads elements that follow each other.
pub(crate) fn dequantize<N: Number>(bytes: &[u8], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = N::get(bytes, i * N::BYTES);
    }
}

/// Transposes up to 16 rows, in GGUF's layout with `row_bytes` each, into `strip`.
pub(crate) fn pack<N: Number>(rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        let columns = strip.chunks_exact_mut(STRIP_ROWS * N::BYTES);
        for (element, column) in row.chunks_exact(N::BYTES).zip(columns) {
            column[r * N::BYTES..][..N::BYTES].copy_from_slice(element);
        }
    }
}

/// Reads row `row` of a strip.
pub(crate) fn row<N: Number>(strip: &[u8], row: usize, out: &mut [f32]) {
    for (k, out) in out.iter_mut().enumerate() {
        *out = N::get(strip, (k * STRIP_ROWS + row) * N::BYTES);
    }
}

/// The reference: one number at a time.
pub(crate) fn multiply_scalar<N: Number>(task: &MatmulTask<'_>) {
    for strip in task.strip_range.clone() {
        let weights = task.strip(strip);
        for token in task.token_range.clone() {
            // SAFETY: the task owns its outputs, and this is the only slice of them.
            let out = unsafe { task.strip_out(token, strip) };
            for (row, out) in out.iter_mut().enumerate() {
                *out = 0.0;
                for (chain, x) in task.inputs.floats(token).chunks(CHAIN).enumerate() {
                    let mut sum = 0.0;
                    for (i, &x) in x.iter().enumerate() {
                        let column = chain * CHAIN + i;
                        let weight = N::get(weights, (column * STRIP_ROWS + row) * N::BYTES);
                        sum = x.mul_add(weight, sum);
                    }
                    *out += sum;
                }
            }
        }
    }
}

/// The same with vectors: tiles of two vectors of rows and up to [`Dots::FLOAT_TILE`] rows of
/// inputs.
///
/// # Safety
/// The strips are packed with numbers `N`.
pub(crate) unsafe fn multiply<V: Dots, N: Number>(simd: V, task: &MatmulTask<'_>) {
    let parts = STRIP_ROWS / V::ROWS;
    let columns = task.strip_range.start * parts..task.strip_range.end * parts;
    for column in columns.clone().step_by(2) {
        let mut token = task.token_range.start;
        while token < task.token_range.end {
            let left = task.token_range.end - token;
            let count = left.div_ceil(left.div_ceil(V::FLOAT_TILE));
            // SAFETY: the caller's promise.
            unsafe {
                if column + 1 < columns.end {
                    tile::<V, N, 2>(simd, task, column, token, count);
                } else {
                    tile::<V, N, 1>(simd, task, column, token, count);
                }
            }
            token += count;
        }
    }
}

/// # Safety
/// As for [`multiply`].
unsafe fn tile<V: Dots, N: Number, const COLUMNS: usize>(
    simd: V,
    task: &MatmulTask<'_>,
    column: usize,
    token: usize,
    count: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            1 => simd.vectorize(FloatTile::<N, COLUMNS, 1>::new(task, column, token, count)),
            2 => simd.vectorize(FloatTile::<N, COLUMNS, 2>::new(task, column, token, count)),
            3 | 4 => simd.vectorize(FloatTile::<N, COLUMNS, 4>::new(task, column, token, count)),
            _ => simd.vectorize(FloatTile::<N, COLUMNS, 6>::new(task, column, token, count)),
        }
    }
}

/// `COLUMNS` vectors of rows, times up to `T` rows of inputs.
struct FloatTile<'a, N, const COLUMNS: usize, const T: usize> {
    task: &'a MatmulTask<'a>,
    /// The first vector of rows.
    column: usize,
    token: usize,
    count: usize,
    number: PhantomData<N>,
}

impl<'a, N, const COLUMNS: usize, const T: usize> FloatTile<'a, N, COLUMNS, T> {
    fn new(task: &'a MatmulTask<'a>, column: usize, token: usize, count: usize) -> Self {
        Self {
            task,
            column,
            token,
            count,
            number: PhantomData,
        }
    }
}

impl<N: Number, const COLUMNS: usize, const T: usize> DotKernel for FloatTile<'_, N, COLUMNS, T> {
    #[inline(always)]
    unsafe fn run<V: Dots>(self, simd: V) {
        let cols = self.task.inputs.cols;
        let mut weights = [std::ptr::null(); COLUMNS];
        for (c, weights) in weights.iter_mut().enumerate() {
            let row = (self.column + c) * V::ROWS;
            let strip = self.task.strip(row / STRIP_ROWS);
            *weights = strip[row % STRIP_ROWS * N::BYTES..].as_ptr();
        }
        // Rows beyond the last repeat it, and are not stored.
        let mut x = [std::ptr::null(); T];
        for (t, x) in x.iter_mut().enumerate() {
            *x = self
                .task
                .inputs
                .floats(self.token + t.min(self.count - 1))
                .as_ptr();
        }
        // SAFETY: the strip has 16 elements for each column, each row of inputs one; outputs belong
        // to the task.
        unsafe {
            let mut totals = [[simd.splat_rows(0.0); T]; COLUMNS];
            for chain in (0..cols).step_by(CHAIN) {
                let mut sums = [[simd.splat_rows(0.0); T]; COLUMNS];
                for k in chain..cols.min(chain + CHAIN) {
                    let mut loaded = [sums[0][0]; COLUMNS];
                    for c in 0..COLUMNS {
                        loaded[c] = N::load(simd, weights[c].add(k * STRIP_ROWS * N::BYTES));
                    }
                    for t in 0..T {
                        let x = simd.splat_rows(*x[t].add(k));
                        for c in 0..COLUMNS {
                            sums[c][t] = simd.mul_add_rows(x, loaded[c], sums[c][t]);
                        }
                    }
                }
                for c in 0..COLUMNS {
                    for t in 0..T {
                        totals[c][t] = simd.add_rows(totals[c][t], sums[c][t]);
                    }
                }
            }
            for c in 0..COLUMNS {
                for t in 0..self.count.min(T) {
                    let row = (self.column + c) * V::ROWS;
                    simd.store_rows(totals[c][t], self.task.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}
