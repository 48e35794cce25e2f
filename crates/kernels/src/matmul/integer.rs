//! Products with quantised weights: exact integer dot products, scaled once for each group of 32 columns.
//!
//! For each output, with `v` the values of the weights, `x` the codes of the inputs, `s` their scale, in this order
//! on every path (see [`accumulate`]):
//!
//! ```text
//! for each group of 32 columns, ascending:
//!     t = float(Σ (v − offset)·x) · scale           exact integers below 2²⁴, one rounding
//!     t = fma(float(Σ (v − offset)·x), scale, t)    formats with a scale for each 16: the second half
//!     t = fma(minimum, float(Σ x), t)               formats with minima (twice, for each 16)
//!     sum = fma(t, s, sum)
//! ```
//!
//! Nothing in it depends on how many rows share the weights, or on who computes it: that is what makes a row of
//! outputs independent of its batch, bit for bit, and equal on all instruction sets.

use super::inputs::InputGroup;
use super::job::Job;
use super::simd::{Kernel, Simd};
use crate::quant::scales::Scales;
use crate::quant::strip::{GROUP, Strip};
use crate::quant::{Codes, Group, STRIP_ROWS};

/// The reference: one number at a time.
pub(crate) fn multiply_scalar<C: Codes, S: Scales>(job: &Job<'_>) {
    for strip in job.strip_range.clone() {
        for token in job.token_range.clone() {
            // SAFETY: the job owns its outputs, and this is the only slice of them.
            let out = unsafe { job.strip_out(token, strip) };
            out.fill(0.0);
            for (g, x) in job.inputs.quantized(token).iter().enumerate() {
                let block = &job.strip(strip)[g / S::GROUPS * Strip::<C, S>::BLOCK_BYTES..];
                let (header, codes) = block.split_at(S::BYTES);
                let group = g % S::GROUPS;
                let codes = &codes[group * C::GROUP_BYTES..][..C::GROUP_BYTES];
                let values = unpack::<C>(codes);
                for (row, out) in out.iter_mut().enumerate() {
                    *out = accumulate_scalar::<C, S>(&values, header, group, row, x, *out);
                }
            }
        }
    }
}

fn unpack<C: Codes>(codes: &[u8]) -> Group {
    std::array::from_fn(|vector| std::array::from_fn(|byte| C::value(codes, vector, byte)))
}

/// One group of one output: the order of operations that all paths keep to.
fn accumulate_scalar<C: Codes, S: Scales>(
    values: &Group,
    header: &[u8],
    group: usize,
    row: usize,
    x: &InputGroup,
    sum: f32,
) -> f32 {
    let columns = GROUP / S::SUBS;
    let mut t = 0.0;
    for sub in 0..S::SUBS {
        let dot: i32 = (sub * columns..(sub + 1) * columns)
            .map(|k| {
                (i32::from(values[k / 4][4 * row + k % 4]) - C::OFFSET) * i32::from(x.codes[k])
            })
            .sum();
        let scale = S::scale(header, group, sub, row);
        t = if sub == 0 {
            dot as f32 * scale
        } else {
            (dot as f32).mul_add(scale, t)
        };
    }
    if S::MINIMA {
        for sub in 0..S::SUBS {
            let codes = &x.codes[sub * columns..(sub + 1) * columns];
            let sum: i32 = codes.iter().map(|&x| i32::from(x)).sum();
            t = S::minimum(header, group, sub, row).mul_add(sum as f32, t);
        }
    }
    t.mul_add(x.scale, sum)
}

/// The same with vectors: tiles of up to [`Simd::MAX_TILE`] rows of inputs share each group they unpack.
///
/// # Safety
/// The CPU has the instructions of `V`; the strips are packed as `Strip<C, S>`.
pub(crate) unsafe fn multiply<V: Simd, C: Codes, S: Scales>(job: &Job<'_>) {
    for strip in job.strip_range.clone() {
        let mut token = job.token_range.start;
        while token < job.token_range.end {
            let left = job.token_range.end - token;
            // Tiles of equal size: 9 rows as 5 + 4, not 8 + 1.
            let count = left.div_ceil(left.div_ceil(V::MAX_TILE));
            // SAFETY: the caller's promise.
            unsafe {
                match count {
                    1 => V::vectorize(Tile::<C, S, 1>::new(job, strip, token, count)),
                    2 => V::vectorize(Tile::<C, S, 2>::new(job, strip, token, count)),
                    3 | 4 => V::vectorize(Tile::<C, S, 4>::new(job, strip, token, count)),
                    _ => V::vectorize(Tile::<C, S, 8>::new(job, strip, token, count)),
                }
            }
            token += count;
        }
    }
}

/// One strip, times up to `T` rows of inputs.
struct Tile<'a, C, S, const T: usize> {
    job: &'a Job<'a>,
    strip: usize,
    token: usize,
    count: usize,
    layout: std::marker::PhantomData<(C, S)>,
}

impl<'a, C: Codes, S: Scales, const T: usize> Tile<'a, C, S, T> {
    fn new(job: &'a Job<'a>, strip: usize, token: usize, count: usize) -> Self {
        Self {
            job,
            strip,
            token,
            count,
            layout: std::marker::PhantomData,
        }
    }
}

impl<C: Codes, S: Scales, const T: usize> Kernel for Tile<'_, C, S, T> {
    #[inline(always)]
    unsafe fn run<V: Simd>(self) {
        let parts = STRIP_ROWS / V::ROWS;
        let groups = self.job.inputs.groups;
        let mut block = self.job.strip(self.strip).as_ptr();
        // Rows beyond the last repeat it, and are not stored.
        let mut x = [std::ptr::null(); T];
        for (t, x) in x.iter_mut().enumerate() {
            *x = self
                .job
                .inputs
                .quantized(self.token + t.min(self.count - 1))
                .as_ptr();
        }
        // SAFETY: the strip has a whole block for every `S::GROUPS` groups, and each row of inputs all groups of
        // these blocks; outputs belong to the job.
        unsafe {
            let mut sums = [[V::splat(0.0); T]; 2];
            for first in (0..groups).step_by(S::GROUPS) {
                for g in 0..S::GROUPS {
                    let codes = block.add(S::BYTES + g * C::GROUP_BYTES);
                    for (part, sums) in sums.iter_mut().enumerate().take(parts) {
                        let values = C::unpack::<V>(codes, part);
                        let scales = S::scales::<V>(block, g, part);
                        let minima = S::minima::<V>(block, g, part);
                        for t in 0..T {
                            let x = x[t].add(first + g);
                            sums[t] = accumulate::<V, C, S>(&values, scales, minima, x, sums[t]);
                        }
                    }
                }
                block = block.add(Strip::<C, S>::BLOCK_BYTES);
            }
            for (part, sums) in sums.iter().enumerate().take(parts) {
                for (t, &sum) in sums.iter().enumerate().take(self.count) {
                    let row = self.strip * STRIP_ROWS + part * V::ROWS;
                    V::store_rows(sum, self.job.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}

/// One group of [`Simd::ROWS`] outputs.
///
/// # Safety
/// The CPU has the instructions of `V`; `x` points to a group.
#[inline(always)]
unsafe fn accumulate<V: Simd, C: Codes, S: Scales>(
    values: &[V::Bytes; 8],
    scales: [V::Floats; 2],
    minima: [V::Floats; 2],
    x: *const InputGroup,
    sum: V::Floats,
) -> V::Floats {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = (*x).codes.as_ptr();
        let negated_sum = V::splat_int((*x).negated_sum);
        let t = if S::SUBS == 1 {
            let dot = V::dot::<C>(values, codes, negated_sum);
            let t = V::mul(V::to_floats(dot), scales[0]);
            if S::MINIMA {
                V::mul_add(minima[0], V::splat((*x).sum), t)
            } else {
                t
            }
        } else {
            let negated_half = V::splat_int((*x).negated_half);
            let negated_rest = V::subtract(negated_sum, negated_half);
            let first = V::dot::<C>(&values[..4], codes, negated_half);
            let second = V::dot::<C>(&values[4..], codes.add(16), negated_rest);
            let t = V::mul(V::to_floats(first), scales[0]);
            let t = V::mul_add(V::to_floats(second), scales[1], t);
            if S::MINIMA {
                let zero = V::splat_int(0);
                let t = V::mul_add(minima[0], V::to_floats(V::subtract(zero, negated_half)), t);
                V::mul_add(minima[1], V::to_floats(V::subtract(zero, negated_rest)), t)
            } else {
                t
            }
        };
        V::mul_add(t, V::splat((*x).scale), sum)
    }
}
