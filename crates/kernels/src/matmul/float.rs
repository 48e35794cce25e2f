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

use half::{bf16, f16};

use super::job::Job;
use super::simd::{Kernel, Simd};
use crate::quant::STRIP_ROWS;

/// Columns that are added up before they join the total.
const CHAIN: usize = 32;

/// A float type that weights are stored in.
pub(crate) trait Element: 'static {
    /// Bytes of an element.
    const BYTES: usize;
    /// The element at byte `at`.
    fn get(bytes: &[u8], at: usize) -> f32;
    /// The elements of `V::ROWS` rows.
    ///
    /// # Safety
    /// `from` has as many elements; the CPU has the instructions of `V`.
    unsafe fn load<V: Simd>(from: *const u8) -> V::Floats;
}

impl Element for f32 {
    const BYTES: usize = 4;

    fn get(bytes: &[u8], at: usize) -> f32 {
        f32::from_le_bytes(*bytes[at..].first_chunk().expect("a whole element"))
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V::Floats {
        // SAFETY: the caller's promise.
        unsafe { V::load_f32(from) }
    }
}

impl Element for f16 {
    const BYTES: usize = 2;

    fn get(bytes: &[u8], at: usize) -> f32 {
        f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V::Floats {
        // SAFETY: the caller's promise.
        unsafe { V::load_f16(from) }
    }
}

impl Element for bf16 {
    const BYTES: usize = 2;

    fn get(bytes: &[u8], at: usize) -> f32 {
        bf16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
    }

    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V::Floats {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(from) }
    }
}

/// Reads elements that follow each other.
pub(crate) fn dequantize<E: Element>(bytes: &[u8], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = E::get(bytes, i * E::BYTES);
    }
}

/// Transposes up to 16 rows, in GGUF's layout with `row_bytes` each, into `strip`.
pub(crate) fn pack<E: Element>(rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        let columns = strip.chunks_exact_mut(STRIP_ROWS * E::BYTES);
        for (element, column) in row.chunks_exact(E::BYTES).zip(columns) {
            column[r * E::BYTES..][..E::BYTES].copy_from_slice(element);
        }
    }
}

/// Reads row `row` of a strip.
pub(crate) fn row<E: Element>(strip: &[u8], row: usize, out: &mut [f32]) {
    for (k, out) in out.iter_mut().enumerate() {
        *out = E::get(strip, (k * STRIP_ROWS + row) * E::BYTES);
    }
}

/// The reference: one number at a time.
pub(crate) fn multiply_scalar<E: Element>(job: &Job<'_>) {
    for strip in job.strip_range.clone() {
        let weights = job.strip(strip);
        for token in job.token_range.clone() {
            // SAFETY: the job owns its outputs, and this is the only slice of them.
            let out = unsafe { job.strip_out(token, strip) };
            for (row, out) in out.iter_mut().enumerate() {
                *out = 0.0;
                for (chain, x) in job.inputs.floats(token).chunks(CHAIN).enumerate() {
                    let mut sum = 0.0;
                    for (i, &x) in x.iter().enumerate() {
                        let column = chain * CHAIN + i;
                        let weight = E::get(weights, (column * STRIP_ROWS + row) * E::BYTES);
                        sum = x.mul_add(weight, sum);
                    }
                    *out += sum;
                }
            }
        }
    }
}

/// The same with vectors: tiles of two vectors of rows and up to [`Simd::FLOAT_TILE`] rows of
/// inputs.
///
/// # Safety
/// The CPU has the instructions of `V`; the strips are packed with elements `E`.
pub(crate) unsafe fn multiply<V: Simd, E: Element>(job: &Job<'_>) {
    let parts = STRIP_ROWS / V::ROWS;
    let columns = job.strip_range.start * parts..job.strip_range.end * parts;
    for column in columns.clone().step_by(2) {
        let mut token = job.token_range.start;
        while token < job.token_range.end {
            let left = job.token_range.end - token;
            let count = left.div_ceil(left.div_ceil(V::FLOAT_TILE));
            // SAFETY: the caller's promise.
            unsafe {
                if column + 1 < columns.end {
                    tile::<V, E, 2>(job, column, token, count);
                } else {
                    tile::<V, E, 1>(job, column, token, count);
                }
            }
            token += count;
        }
    }
}

/// # Safety
/// As for [`multiply`].
unsafe fn tile<V: Simd, E: Element, const COLUMNS: usize>(
    job: &Job<'_>,
    column: usize,
    token: usize,
    count: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            1 => V::vectorize(Tile::<E, COLUMNS, 1>::new(job, column, token, count)),
            2 => V::vectorize(Tile::<E, COLUMNS, 2>::new(job, column, token, count)),
            3 | 4 => V::vectorize(Tile::<E, COLUMNS, 4>::new(job, column, token, count)),
            _ => V::vectorize(Tile::<E, COLUMNS, 6>::new(job, column, token, count)),
        }
    }
}

/// `COLUMNS` vectors of rows, times up to `T` rows of inputs.
struct Tile<'a, E, const COLUMNS: usize, const T: usize> {
    job: &'a Job<'a>,
    /// The first vector of rows.
    column: usize,
    token: usize,
    count: usize,
    element: PhantomData<E>,
}

impl<'a, E, const COLUMNS: usize, const T: usize> Tile<'a, E, COLUMNS, T> {
    fn new(job: &'a Job<'a>, column: usize, token: usize, count: usize) -> Self {
        Self {
            job,
            column,
            token,
            count,
            element: PhantomData,
        }
    }
}

impl<E: Element, const COLUMNS: usize, const T: usize> Kernel for Tile<'_, E, COLUMNS, T> {
    #[inline(always)]
    unsafe fn run<V: Simd>(self) {
        let cols = self.job.inputs.cols;
        let mut weights = [std::ptr::null(); COLUMNS];
        for (c, weights) in weights.iter_mut().enumerate() {
            let row = (self.column + c) * V::ROWS;
            let strip = self.job.strip(row / STRIP_ROWS);
            *weights = strip[row % STRIP_ROWS * E::BYTES..].as_ptr();
        }
        // Rows beyond the last repeat it, and are not stored.
        let mut x = [std::ptr::null(); T];
        for (t, x) in x.iter_mut().enumerate() {
            *x = self
                .job
                .inputs
                .floats(self.token + t.min(self.count - 1))
                .as_ptr();
        }
        // SAFETY: the strip has 16 elements for each column, each row of inputs one; outputs belong
        // to the job.
        unsafe {
            let mut totals = [[V::splat(0.0); T]; COLUMNS];
            for chain in (0..cols).step_by(CHAIN) {
                let mut sums = [[V::splat(0.0); T]; COLUMNS];
                for k in chain..cols.min(chain + CHAIN) {
                    let mut loaded = [sums[0][0]; COLUMNS];
                    for c in 0..COLUMNS {
                        loaded[c] = E::load::<V>(weights[c].add(k * STRIP_ROWS * E::BYTES));
                    }
                    for t in 0..T {
                        let x = V::splat(*x[t].add(k));
                        for c in 0..COLUMNS {
                            sums[c][t] = V::mul_add(x, loaded[c], sums[c][t]);
                        }
                    }
                }
                for c in 0..COLUMNS {
                    for t in 0..T {
                        totals[c][t] = V::add(totals[c][t], sums[c][t]);
                    }
                }
            }
            for c in 0..COLUMNS {
                for t in 0..self.count.min(T) {
                    let row = (self.column + c) * V::ROWS;
                    V::store_rows(totals[c][t], self.job.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}
