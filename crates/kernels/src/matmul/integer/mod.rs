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

use super::task::MatmulTask;
use crate::quant::codes::{Codes, Group, STRIP_ROWS};
use crate::quant::inputs::InputGroup;
use crate::quant::scales::Scales;
use crate::quant::strip::Strip;
use crate::simd::dots::{DotKernel, Dots, GROUP};
use group::{Weights, accumulate};
use sweep::{Sweep, strips_at_a_time};

mod group;
mod sweep;

pub(crate) use sweep::TILE as SWEEP_TILE;

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

/// Rows of inputs from which unpacking weights to memory, once for all rows, beats doing it for
/// each tile.
const SWEEP_FROM: usize = 48;

/// The reference: one number at a time.
pub(crate) fn multiply_scalar<C: Codes, S: Scales>(task: &MatmulTask<'_>) {
    for strip in task.strip_range.clone() {
        for token in task.token_range.clone() {
            // SAFETY: the task owns its outputs, and this is the only slice of them.
            let out = unsafe { task.strip_out(token, strip) };
            out.fill(0.0);
            for (g, x) in task.inputs.quantized(token).iter().enumerate() {
                let block = &task.strip(strip)[g / S::GROUPS * Strip::<C, S>::BLOCK_BYTES..];
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
/// The strips are packed as `Strip<C, S>`.
pub(crate) unsafe fn multiply<V: Dots, C: Codes, S: Scales>(simd: V, task: &MatmulTask<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut strips = task.strip_range.clone();
        if task.token_range.len() >= SWEEP_FROM {
            let step = strips_at_a_time::<V>();
            let swept = strips.start + strips.len() / step * step;
            let layout = PhantomData;
            simd.vectorize(Sweep::<C, S> {
                task,
                strips: strips.start..swept,
                layout,
            });
            strips.start = swept;
        }
        for strip in strips {
            multiply_strip::<V, C, S>(simd, task, strip);
        }
    }
}

/// One strip, unpacked in registers for each tile of up to [`Dots::MAX_TILE`] rows of inputs.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_strip<V: Dots, C: Codes, S: Scales>(
    simd: V,
    task: &MatmulTask<'_>,
    strip: usize,
) {
    let mut token = task.token_range.start;
    while token < task.token_range.end {
        let left = task.token_range.end - token;
        // Tiles of equal size: 9 rows as 5 + 4, not 8 + 1.
        let count = left.div_ceil(left.div_ceil(V::MAX_TILE));
        // SAFETY: the caller's promise.
        unsafe {
            match count {
                1 => simd.vectorize(IntegerTile::<C, S, 1>::new(task, strip, token, count)),
                2 => simd.vectorize(IntegerTile::<C, S, 2>::new(task, strip, token, count)),
                3 | 4 => simd.vectorize(IntegerTile::<C, S, 4>::new(task, strip, token, count)),
                _ => simd.vectorize(IntegerTile::<C, S, 8>::new(task, strip, token, count)),
            }
        }
        token += count;
    }
}

/// One strip, times up to `T` rows of inputs.
struct IntegerTile<'a, C, S, const T: usize> {
    task: &'a MatmulTask<'a>,
    strip: usize,
    token: usize,
    count: usize,
    layout: PhantomData<(C, S)>,
}

impl<'a, C: Codes, S: Scales, const T: usize> IntegerTile<'a, C, S, T> {
    fn new(task: &'a MatmulTask<'a>, strip: usize, token: usize, count: usize) -> Self {
        Self {
            task,
            strip,
            token,
            count,
            layout: PhantomData,
        }
    }
}

impl<C: Codes, S: Scales, const T: usize> DotKernel for IntegerTile<'_, C, S, T> {
    #[inline(always)]
    unsafe fn run<V: Dots>(self, simd: V) {
        let parts = STRIP_ROWS / V::ROWS;
        let groups = self.task.inputs.groups;
        let group_bytes = Strip::<C, S>::BLOCK_BYTES / S::GROUPS;
        let mut block = self.task.strip(self.strip).as_ptr();
        let mut x = self.task.inputs.tile::<T>(self.token, self.count);
        // SAFETY: the strip has a whole block for every `S::GROUPS` groups, and each row of inputs
        // all groups of these blocks; outputs belong to the task.
        unsafe {
            let mut sums = [[[simd.splat_rows(0.0); T]]; 2];
            for _ in (0..groups).step_by(S::GROUPS) {
                for g in 0..S::GROUPS {
                    let lines = if T > 1 || parts > 1 {
                        group_bytes.div_ceil(64)
                    } else {
                        0
                    };
                    for line in 0..lines {
                        simd.prefetch(block.wrapping_add(PREFETCH + g * group_bytes + 64 * line));
                    }
                    for (part, sums) in sums.iter_mut().enumerate().take(parts) {
                        let weights = Weights::<V>::unpack::<C, S>(simd, block, g, part);
                        accumulate::<V, C, S, 1, T>(simd, [&weights], x, sums);
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
                    simd.store_rows(sum, self.task.out(self.token + t, row, V::ROWS));
                }
            }
        }
    }
}
