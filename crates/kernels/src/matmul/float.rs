//! Products with F32, F16 and BF16 weights.
//!
//! ```text
//! strip = column 0: 16 rows │ column 1: 16 rows │ …       in the width of the format
//! ```
//!
//! For each output, in this order on every path: the products of 32 columns are added up by fused multiply-adds from
//! zero, and that sum is added to the total. Short chains keep rounding errors small, and leave the CPU independent
//! work while one multiply-add waits for another.
#![allow(unsafe_code)] // vectors

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

/// The same with vectors: up to [`Simd::MAX_TILE`] rows of inputs share each column they load.
///
/// # Safety
/// The CPU has the instructions of `V`; the strips are packed with elements `E`.
pub(crate) unsafe fn multiply<V: Simd, E: Element>(job: &Job<'_>) {
    for strip in job.strip_range.clone() {
        let mut token = job.token_range.start;
        while token < job.token_range.end {
            let left = job.token_range.end - token;
            let count = left.div_ceil(left.div_ceil(V::MAX_TILE));
            // SAFETY: the caller's promise.
            unsafe {
                match count {
                    1 => V::vectorize(Tile::<E, 1>::new(job, strip, token, count)),
                    2 => V::vectorize(Tile::<E, 2>::new(job, strip, token, count)),
                    3 | 4 => V::vectorize(Tile::<E, 4>::new(job, strip, token, count)),
                    _ => V::vectorize(Tile::<E, 8>::new(job, strip, token, count)),
                }
            }
            token += count;
        }
    }
}

/// One strip, times up to `T` rows of inputs.
struct Tile<'a, E, const T: usize> {
    job: &'a Job<'a>,
    strip: usize,
    token: usize,
    count: usize,
    element: std::marker::PhantomData<E>,
}

impl<'a, E, const T: usize> Tile<'a, E, T> {
    fn new(job: &'a Job<'a>, strip: usize, token: usize, count: usize) -> Self {
        Self {
            job,
            strip,
            token,
            count,
            element: std::marker::PhantomData,
        }
    }
}

impl<E: Element, const T: usize> Kernel for Tile<'_, E, T> {
    #[inline(always)]
    unsafe fn run<V: Simd>(self) {
        let weights = self.job.strip(self.strip).as_ptr();
        let cols = self.job.inputs.cols;
        // Rows beyond the last repeat it, and are not stored.
        let mut x = [std::ptr::null(); T];
        for (t, x) in x.iter_mut().enumerate() {
            *x = self
                .job
                .inputs
                .floats(self.token + t.min(self.count - 1))
                .as_ptr();
        }
        for part in 0..STRIP_ROWS / V::ROWS {
            // SAFETY: the strip has 16 elements for each column, each row of inputs one; outputs belong to the job.
            unsafe {
                let mut totals = [V::splat(0.0); T];
                for chain in (0..cols).step_by(CHAIN) {
                    let mut sums = [V::splat(0.0); T];
                    for column in chain..cols.min(chain + CHAIN) {
                        let row = column * STRIP_ROWS + part * V::ROWS;
                        let weights = E::load::<V>(weights.add(row * E::BYTES));
                        for t in 0..T {
                            sums[t] = V::mul_add(V::splat(*x[t].add(column)), weights, sums[t]);
                        }
                    }
                    for t in 0..T {
                        totals[t] = V::add(totals[t], sums[t]);
                    }
                }
                for (t, &total) in totals.iter().enumerate().take(self.count) {
                    let row = self.strip * STRIP_ROWS + part * V::ROWS;
                    V::store_rows(total, self.job.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}
