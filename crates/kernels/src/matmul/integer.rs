//! Products with quantised weights: exact integer dot products, scaled once for each group of 32
//! columns.
//!
//! For each output, with `v` the values of the weights, `x` the codes of the inputs, `s` their
//! scale, in this order on every path (see [`accumulate`]):
//!
//! ```text
//! for each group of 32 columns, ascending:
//!     t = float(Σ (v − offset)·x) · scale           exact integers below 2²⁴, one rounding
//!     t = fma(float(Σ (v − offset)·x), scale, t)    formats with a scale for each 16: the second half
//!     t = fma(minimum, float(Σ x), t)               formats with minima (twice, for each 16)
//!     sum = fma(t, s, sum)
//! ```
//!
//! Nothing in it depends on how many rows share the weights, or on who computes it: that is what
//! makes a row of outputs independent of its batch, bit for bit, and equal on all instruction sets.
#![allow(unsafe_code)] // vectors
#![expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and column"
)]

use std::marker::PhantomData;

use super::inputs::InputGroup;
use super::job::Job;
use super::simd::{Kernel, Simd};
use crate::quant::scales::Scales;
use crate::quant::strip::{GROUP, Strip};
use crate::quant::{Codes, Group, STRIP_ROWS};

/// How far ahead of the weights in use others are asked for. With several rows of inputs a group
/// takes so many instructions that the CPU's own window does not reach far enough to hide the
/// latency of memory: a group of Q8_0 has 544 B and takes 8 rows some 40 cycles, and memory some
/// 500 cycles, 12 groups. Twice as far gains nothing, half as far costs a quarter of the speed.
///
/// They are asked into L2: requests into L1 each hold one of its few miss buffers (24 on Zen 4) for
/// as long as memory takes, which loads then wait for; 8 rows of Q8_0 take 1.6 times as long. One
/// row asks for nothing where a vector holds a strip: the CPU's own prefetchers are faster (Q6_K 35
/// GiB/s, with requests 31). Narrower vectors need them (Q8_0 on one thread 20 GiB/s, without requests
/// 13).
const PREFETCH: usize = 8192;

mod sweep;

pub(super) use sweep::TILE as SWEEP_TILE;
use sweep::{Sweep, strips_at_a_time};

/// Rows of inputs from which unpacking weights to memory, once for all rows, beats doing it for
/// each tile.
const SWEEP_FROM: usize = 48;

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

/// The same with vectors.
///
/// # Safety
/// The CPU has the instructions of `V`; the strips are packed as `Strip<C, S>`.
pub(crate) unsafe fn multiply<V: Simd, C: Codes, S: Scales>(job: &Job<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut strips = job.strip_range.clone();
        if job.token_range.len() >= SWEEP_FROM {
            let step = strips_at_a_time::<V>();
            let swept = strips.start + strips.len() / step * step;
            let layout = PhantomData;
            V::vectorize(Sweep::<C, S> {
                job,
                strips: strips.start..swept,
                layout,
            });
            strips.start = swept;
        }
        for strip in strips {
            multiply_strip::<V, C, S>(job, strip);
        }
    }
}

/// One strip, unpacked in registers for each tile of up to [`Simd::MAX_TILE`] rows of inputs.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_strip<V: Simd, C: Codes, S: Scales>(job: &Job<'_>, strip: usize) {
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

/// One strip, times up to `T` rows of inputs.
struct Tile<'a, C, S, const T: usize> {
    job: &'a Job<'a>,
    strip: usize,
    token: usize,
    count: usize,
    layout: PhantomData<(C, S)>,
}

impl<'a, C: Codes, S: Scales, const T: usize> Tile<'a, C, S, T> {
    fn new(job: &'a Job<'a>, strip: usize, token: usize, count: usize) -> Self {
        Self {
            job,
            strip,
            token,
            count,
            layout: PhantomData,
        }
    }
}

impl<C: Codes, S: Scales, const T: usize> Kernel for Tile<'_, C, S, T> {
    #[inline(always)]
    unsafe fn run<V: Simd>(self) {
        let parts = STRIP_ROWS / V::ROWS;
        let groups = self.job.inputs.groups;
        let group_bytes = Strip::<C, S>::BLOCK_BYTES / S::GROUPS;
        let mut block = self.job.strip(self.strip).as_ptr();
        let mut x = self.job.inputs.tile::<T>(self.token, self.count);
        // SAFETY: the strip has a whole block for every `S::GROUPS` groups, and each row of inputs
        // all groups of these blocks; outputs belong to the job.
        unsafe {
            let mut sums = [[[V::splat(0.0); T]]; 2];
            for _ in (0..groups).step_by(S::GROUPS) {
                for g in 0..S::GROUPS {
                    let lines = if T > 1 || parts > 1 {
                        group_bytes.div_ceil(64)
                    } else {
                        0
                    };
                    for line in 0..lines {
                        V::prefetch(block.wrapping_add(PREFETCH + g * group_bytes + 64 * line));
                    }
                    for (part, sums) in sums.iter_mut().enumerate().take(parts) {
                        let weights = Weights::<V>::unpack::<C, S>(block, g, part);
                        accumulate::<V, C, S, 1, T>([&weights], x, sums);
                    }
                    for x in &mut x {
                        *x = x.add(1);
                    }
                }
                block = block.add(Strip::<C, S>::BLOCK_BYTES);
            }
            for (part, [sums]) in sums.iter().enumerate().take(parts) {
                for (t, &sum) in sums.iter().enumerate().take(self.count) {
                    let row = self.strip * STRIP_ROWS + part * V::ROWS;
                    V::store_rows(sum, self.job.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}

/// A group of weights, unpacked: 32 columns of [`Simd::ROWS`] rows.
pub(super) struct Weights<V: Simd> {
    values: [V::Bytes; 8],
    scales: [V::Floats; 2],
    minima: [V::Floats; 2],
}

impl<V: Simd> Weights<V> {
    /// # Safety
    /// The CPU has the instructions of `V`; `block` is a block packed as `Strip<C, S>`.
    #[inline(always)]
    unsafe fn unpack<C: Codes, S: Scales>(block: *const u8, group: usize, part: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                values: C::unpack::<V>(block.add(S::BYTES + group * C::GROUP_BYTES), part),
                scales: S::scales::<V>(block, group, part),
                minima: S::minima::<V>(block, group, part),
            }
        }
    }
}

/// One group of `COLUMNS` vectors of weights times `T` rows of inputs.
///
/// # Safety
/// The CPU has the instructions of `V`; `x` point to groups.
#[inline(always)]
unsafe fn accumulate<V: Simd, C: Codes, S: Scales, const COLUMNS: usize, const T: usize>(
    weights: [&Weights<V>; COLUMNS],
    x: [*const InputGroup; T],
    sums: &mut [[V::Floats; T]; COLUMNS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut codes = [std::ptr::null(); T];
        let mut starts = [V::splat_int(0); T];
        let mut values: [&[V::Bytes]; COLUMNS] = [&[]; COLUMNS];
        // The whole group, or its first half.
        for t in 0..T {
            codes[t] = (*x[t]).codes.as_ptr();
            let negated = if S::SUBS == 1 {
                (*x[t]).negated_sum
            } else {
                (*x[t]).negated_half
            };
            starts[t] = V::splat_int(C::OFFSET * negated);
        }
        for c in 0..COLUMNS {
            values[c] = &weights[c].values[..8 / S::SUBS];
        }
        let dots = V::dot::<C, COLUMNS, T>(values, codes, starts);
        let mut scaled = *sums;
        for c in 0..COLUMNS {
            for t in 0..T {
                scaled[c][t] = V::mul(V::to_floats(dots[c][t]), weights[c].scales[0]);
            }
        }
        if S::SUBS == 2 {
            for t in 0..T {
                codes[t] = codes[t].add(16);
                let negated = (*x[t]).negated_sum - (*x[t]).negated_half;
                starts[t] = V::splat_int(C::OFFSET * negated);
            }
            for c in 0..COLUMNS {
                values[c] = &weights[c].values[4..];
            }
            let dots = V::dot::<C, COLUMNS, T>(values, codes, starts);
            for c in 0..COLUMNS {
                for t in 0..T {
                    scaled[c][t] =
                        V::mul_add(V::to_floats(dots[c][t]), weights[c].scales[1], scaled[c][t]);
                }
            }
        }
        for c in 0..COLUMNS {
            for t in 0..T {
                let x = &*x[t];
                let mut scaled = scaled[c][t];
                if S::MINIMA && S::SUBS == 1 {
                    scaled = V::mul_add(weights[c].minima[0], V::splat(x.sum), scaled);
                } else if S::MINIMA {
                    let half = -x.negated_half as f32;
                    scaled = V::mul_add(weights[c].minima[0], V::splat(half), scaled);
                    scaled = V::mul_add(weights[c].minima[1], V::splat(x.sum - half), scaled);
                }
                sums[c][t] = V::mul_add(scaled, V::splat(x.scale), sums[c][t]);
            }
        }
    }
}
