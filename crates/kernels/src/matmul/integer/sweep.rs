//! Many rows of inputs: weights are unpacked once, into memory that stays in L1, and all rows sweep
//! over them.
//!
//! ```text
//!            ┌ CHUNK groups ┐
//! strip      │ ▒▒▒▒▒▒▒▒▒▒▒▒ │ ← unpacked: 16 groups × (8 vectors, scales, minima: 640 B) = 10 KB
//! strip + 1  │ ▒▒▒▒▒▒▒▒▒▒▒▒ │
//!            └──────────────┘
//! inputs       6 rows at a time: 16 groups × 48 B × 6 = 5 KB; all of it fits an L1 of 32 KB
//! ```
//!
//! Two vectors of rows share the inputs: two strips, or with vectors of half a strip its two halves.
//!
//! All strips of the task take their turn with a chunk of columns before the next: the chunk of the
//! inputs, 147 KB for 192 rows, stays in L2 meanwhile. Between chunks the sums wait in memory, as the
//! floats they are: the order of operations, and so every bit, is that of the other paths. They
//! don't wait in the output itself, whose rows are a multiple of 4 KiB apart in most models: they
//! would all fall into the same few sets of the caches, and push each other out.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::group::{Weights, accumulate};
use crate::matmul::task::MatmulTask;
use crate::quant::codes::{Codes, STRIP_ROWS};
use crate::quant::scales::Scales;
use crate::quant::strip::Strip;
use crate::simd::dots::{DotKernel, Dots};

/// Groups that are unpacked at a time; a multiple of those of a block. With 24 they don't fit L1, and
/// take 2 % (Q4_K) to 5 % (Q6_K) longer.
const CHUNK: usize = 16;
/// Vectors of rows that share inputs.
const VECTORS: usize = 2;
/// Rows of inputs in a tile: of 32 registers, 12 sums, 12 integer sums, 2 vectors of weights, an
/// input, scales; of AVX2's 16, 12 partial sums, 2 vectors of weights, an input, a product.
pub(crate) const TILE: usize = 6;

/// Strips that are swept over at a time.
pub(super) const fn strips_at_a_time<V: Dots>() -> usize {
    VECTORS * V::ROWS / STRIP_ROWS
}

/// Strips times all rows of inputs of the task.
pub(super) struct Sweep<'a, C, S> {
    pub(super) task: &'a MatmulTask<'a>,
    /// A multiple of [`strips_at_a_time`].
    pub(super) strips: Range<usize>,
    pub(super) layout: PhantomData<(C, S)>,
}

/// Sums of the rows of one strip, and one row of inputs.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Sums([f32; STRIP_ROWS]);

thread_local! {
    /// Sums between chunks: `[strip / strips at a time][row of inputs][strip % strips at a time]`.
    /// Kept for the next task.
    static SUMS: RefCell<Vec<Sums>> = const { RefCell::new(Vec::new()) };
}

/// The groups of a chunk of one vector of rows; uninitialised beyond those unpacked.
type Unpacked<V> = [MaybeUninit<Weights<V>>; CHUNK];

impl<C: Codes, S: Scales> DotKernel for Sweep<'_, C, S> {
    #[inline(always)]
    unsafe fn run<V: Dots>(self, simd: V) {
        let groups = self.task.inputs.groups;
        let tokens = self.task.token_range.len();
        let mut sums = SUMS.take();
        let strips = strips_at_a_time::<V>();
        let size = self.strips.len() * tokens;
        if sums.len() < size {
            sums.resize(size, Sums([0.0; STRIP_ROWS]));
        }
        const { assert!(CHUNK.is_multiple_of(S::GROUPS)) };
        // Chunks of equal size: 18 groups as 10 + 8, not 16 + 2.
        let chunk = groups
            .div_ceil(groups.div_ceil(CHUNK))
            .next_multiple_of(S::GROUPS);
        let mut unpacked: [Unpacked<V>; VECTORS] =
            [const { [const { MaybeUninit::uninit() }; CHUNK] }; VECTORS];
        for first in (0..groups).step_by(chunk) {
            let chunk = first..groups.min(first + chunk);
            let starts = self.strips.clone().step_by(strips);
            for (strip, sums) in starts.zip(sums.chunks_exact_mut(strips * tokens)) {
                // SAFETY: the caller's promise; the tiles read what is unpacked before.
                unsafe {
                    for (c, unpacked) in unpacked.iter_mut().enumerate() {
                        let row = c * V::ROWS;
                        let part = row % STRIP_ROWS / V::ROWS;
                        self.unpack(
                            simd,
                            strip + row / STRIP_ROWS,
                            part,
                            chunk.clone(),
                            unpacked,
                        );
                    }
                    self.sweep(simd, strip, chunk.clone(), &unpacked, sums);
                }
            }
        }
        SUMS.set(sums);
    }
}

impl<'a, C: Codes, S: Scales> Sweep<'a, C, S> {
    /// # Safety
    /// As for [`super::multiply`].
    #[inline(always)]
    unsafe fn unpack<V: Dots>(
        &self,
        simd: V,
        strip: usize,
        part: usize,
        chunk: Range<usize>,
        to: &mut Unpacked<V>,
    ) {
        let strip = self.task.strip(strip).as_ptr();
        for (g, weights) in chunk.zip(to) {
            // SAFETY: the strip has a block for every `S::GROUPS` groups.
            unsafe {
                let block = strip.add(g / S::GROUPS * Strip::<C, S>::BLOCK_BYTES);
                weights.write(Weights::unpack::<C, S>(simd, block, g % S::GROUPS, part));
            }
        }
    }

    /// All rows of inputs, in tiles.
    ///
    /// # Safety
    /// As for [`super::multiply`], and the chunk is unpacked.
    #[inline(always)]
    unsafe fn sweep<V: Dots>(
        &self,
        simd: V,
        strip: usize,
        chunk: Range<usize>,
        unpacked: &[Unpacked<V>; VECTORS],
        sums: &mut [Sums],
    ) {
        let tokens = self.task.token_range.clone();
        // The same chunk of the next strips, a share of it with each tile, while the CPU is busy
        // with this one.
        let strips = strips_at_a_time::<V>();
        let next = self.task.strips.as_ptr().wrapping_add(
            (strip + strips) * self.task.strip_bytes
                + chunk.start / S::GROUPS * Strip::<C, S>::BLOCK_BYTES,
        );
        let lines = chunk.len() / S::GROUPS * Strip::<C, S>::BLOCK_BYTES / 64;
        let lines_per_tile = lines.div_ceil(tokens.len() / TILE);
        let mut token = tokens.start;
        let mut line = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while token + TILE <= tokens.end {
                for c in 0..strips {
                    for line in line..line + lines_per_tile {
                        simd.prefetch(next.wrapping_add(c * self.task.strip_bytes + 64 * line));
                    }
                }
                line += lines_per_tile;
                let sums = &mut sums[(token - tokens.start) * strips..][..TILE * strips];
                self.tile::<V, TILE>(simd, strip, chunk.clone(), unpacked, token, sums);
                token += TILE;
            }
            let sums = &mut sums[(token - tokens.start) * strips..];
            match tokens.end - token {
                0 => {}
                1 | 2 => self.tile::<V, 2>(simd, strip, chunk, unpacked, token, sums),
                _ => self.tile::<V, TILE>(simd, strip, chunk, unpacked, token, sums),
            }
        }
    }

    /// The rows of inputs that `waiting` has sums of, at most `T`, from `token` on.
    ///
    /// # Safety
    /// As for [`Sweep::sweep`].
    #[inline(always)]
    unsafe fn tile<V: Dots, const T: usize>(
        &self,
        simd: V,
        strip: usize,
        chunk: Range<usize>,
        unpacked: &[Unpacked<V>; VECTORS],
        token: usize,
        waiting: &mut [Sums],
    ) {
        let waiting: &mut [f32] = bytemuck::cast_slice_mut(waiting);
        let row = VECTORS * V::ROWS;
        let count = waiting.len() / row;
        let x = self.task.inputs.tile::<T>(token, count);
        // SAFETY: the caller's promise; outputs belong to the task, and only one slice of them is
        // alive at a time.
        unsafe {
            let mut sums = [[simd.splat_rows(0.0); T]; VECTORS];
            if chunk.start > 0 {
                for t in 0..T {
                    let waiting = &waiting[t.min(count - 1) * row..][..row];
                    for c in 0..VECTORS {
                        sums[c][t] = simd.load_rows_f32(waiting[c * V::ROWS..].as_ptr().cast());
                    }
                }
            }
            for g in 0..chunk.len() {
                let weights = [
                    unpacked[0][g].assume_init_ref(),
                    unpacked[1][g].assume_init_ref(),
                ];
                let x = x.map(|x| x.add(chunk.start + g));
                accumulate::<V, C, S, VECTORS, T>(simd, weights, x, &mut sums);
            }
            if chunk.end < self.task.inputs.groups {
                for (t, waiting) in waiting.chunks_exact_mut(row).enumerate().take(T) {
                    for (c, waiting) in waiting.chunks_exact_mut(V::ROWS).enumerate() {
                        simd.store_rows(sums[c][t], waiting);
                    }
                }
                return;
            }
            for t in 0..count.min(T) {
                for (c, out) in self.out::<V>(strip, token + t).into_iter().enumerate() {
                    simd.store_rows(sums[c][t], out);
                }
            }
        }
    }

    /// The outputs of two vectors of rows for one row of inputs.
    ///
    /// # Safety
    /// No other slices of them are alive.
    #[inline(always)]
    unsafe fn out<V: Dots>(&self, strip: usize, token: usize) -> [&'a mut [f32]; VECTORS] {
        // SAFETY: the task owns its outputs; the rest is the caller's promise.
        let out = unsafe { self.task.out(token, strip * STRIP_ROWS, VECTORS * V::ROWS) };
        let middle = out.len().min(V::ROWS);
        out.split_at_mut(middle).into()
    }
}
