//! Many rows of inputs: weights are unpacked once, into memory that stays in L1, and all rows sweep over them.
//!
//! ```text
//!            ┌ CHUNK groups ┐
//! column 0   │ ▒▒▒▒▒▒▒▒▒▒▒▒ │ ← unpacked: 16 groups × 8 vectors × 64 B + scales and minima = 12 KB
//! column 1   │ ▒▒▒▒▒▒▒▒▒▒▒▒ │
//!            └──────────────┘
//! inputs       6 rows at a time: 16 groups × 48 B × 6 = 5 KB, so that all of it fits 32 KB
//! ```
//!
//! Between chunks the sums wait in the output itself, as the floats they are: the order of operations, and so every
//! bit, is that of the other paths.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Weights, accumulate};
use crate::matmul::job::Job;
use crate::matmul::simd::{Kernel, Simd};
use crate::quant::scales::Scales;
use crate::quant::strip::Strip;
use crate::quant::{Codes, STRIP_ROWS};

/// Groups that are unpacked at a time.
const CHUNK: usize = 16;
/// Vectors of rows that share inputs: two strips, or the halves of one.
const COLUMNS: usize = 2;
/// Rows of inputs in a tile.
pub(super) const TILE: usize = 6;

/// Strips that [`Sweep`] multiplies at once.
pub(super) const fn strips<V: Simd>() -> usize {
    (COLUMNS * V::ROWS).div_ceil(STRIP_ROWS)
}

/// [`COLUMNS`] vectors of rows, from strip `strip` on, times all rows of inputs of the job.
pub(super) struct Sweep<'a, C, S> {
    pub(super) job: &'a Job<'a>,
    pub(super) strip: usize,
    pub(super) layout: PhantomData<(C, S)>,
}

/// The groups of a chunk; uninitialised beyond those unpacked.
type Column<V> = [MaybeUninit<Weights<V>>; CHUNK];

impl<C: Codes, S: Scales> Kernel for Sweep<'_, C, S> {
    #[inline(always)]
    unsafe fn run<V: Simd>(self) {
        let groups = self.job.inputs.groups;
        // Chunks of equal size: 18 groups as 10 + 8, not 16 + 2.
        let chunk = groups
            .div_ceil(groups.div_ceil(CHUNK))
            .next_multiple_of(S::GROUPS);
        let tokens = self.job.token_range.clone();
        let mut columns: [Column<V>; COLUMNS] =
            [const { [const { MaybeUninit::uninit() }; CHUNK] }; COLUMNS];
        for first in (0..groups).step_by(chunk) {
            let chunk = first..groups.min(first + chunk);
            // SAFETY: the caller's promise; what is unpacked is what the tiles read.
            unsafe {
                for (c, column) in columns.iter_mut().enumerate() {
                    self.unpack::<V>(c, chunk.clone(), column);
                }
                let mut token = tokens.start;
                let lines = self.lines(&chunk).div_ceil(tokens.len() / TILE);
                while token + TILE <= tokens.end {
                    self.prefetch::<V>(&chunk, (token - tokens.start) / TILE * lines, lines);
                    self.tile::<V, TILE>(&columns, chunk.clone(), token, TILE);
                    token += TILE;
                }
                match tokens.end - token {
                    0 => {}
                    1 | 2 => self.tile::<V, 2>(&columns, chunk, token, tokens.end - token),
                    rest => self.tile::<V, TILE>(&columns, chunk, token, rest),
                }
            }
        }
    }
}

impl<'a, C: Codes, S: Scales> Sweep<'a, C, S> {
    /// The strip of column `column`, and which part of it.
    #[inline(always)]
    fn place<V: Simd>(&self, column: usize) -> (usize, usize) {
        let parts = STRIP_ROWS / V::ROWS;
        (self.strip + column / parts, column % parts)
    }

    /// Cache lines of a chunk of one strip.
    #[inline(always)]
    fn lines(&self, groups: &Range<usize>) -> usize {
        groups.len() / S::GROUPS * Strip::<C, S>::BLOCK_BYTES / 64
    }

    /// Asks for some cache lines of what follows the chunk in each strip, while the tiles of this chunk keep the CPU
    /// busy: at the end of a strip that is the next strip.
    ///
    /// # Safety
    /// As for [`super::multiply`].
    #[inline(always)]
    unsafe fn prefetch<V: Simd>(&self, groups: &Range<usize>, first: usize, count: usize) {
        let block = groups.end / S::GROUPS * Strip::<C, S>::BLOCK_BYTES;
        for strip in self.strip..self.strip + strips::<V>() {
            let next = self
                .job
                .strip(strip)
                .as_ptr()
                .wrapping_add(block + 64 * first);
            for line in 0..count {
                // SAFETY: the caller's promise.
                unsafe { V::prefetch(next.wrapping_add(64 * line)) }
            }
        }
    }

    /// # Safety
    /// As for [`super::multiply`].
    #[inline(always)]
    unsafe fn unpack<V: Simd>(&self, c: usize, groups: Range<usize>, column: &mut Column<V>) {
        let (strip, part) = self.place::<V>(c);
        let strip = self.job.strip(strip).as_ptr();
        for (g, weights) in groups.zip(column) {
            // SAFETY: the strip has a block for every `S::GROUPS` groups.
            unsafe {
                let block = strip.add(g / S::GROUPS * Strip::<C, S>::BLOCK_BYTES);
                weights.write(Weights::unpack::<C, S>(block, g % S::GROUPS, part));
            }
        }
    }

    /// # Safety
    /// As for [`super::multiply`], and the groups of the chunk are unpacked in `columns`.
    #[inline(always)]
    unsafe fn tile<V: Simd, const T: usize>(
        &self,
        columns: &[Column<V>; COLUMNS],
        groups: Range<usize>,
        token: usize,
        count: usize,
    ) {
        let mut x = self.job.inputs.tile::<T>(token, count);
        // SAFETY: the caller's promise; outputs belong to the job.
        unsafe {
            let mut sums = [[V::splat(0.0); T]; COLUMNS];
            if groups.start > 0 {
                for c in 0..COLUMNS {
                    for t in 0..T {
                        sums[c][t] = V::load_rows(self.out::<V>(c, token + t.min(count - 1)));
                    }
                }
            }
            for x in &mut x {
                *x = x.add(groups.start);
            }
            for g in 0..groups.len() {
                let weights = [
                    columns[0][g].assume_init_ref(),
                    columns[1][g].assume_init_ref(),
                ];
                accumulate::<V, C, S, COLUMNS, T>(weights, x, &mut sums);
                for x in &mut x {
                    *x = x.add(1);
                }
            }
            for c in 0..COLUMNS {
                for t in 0..count.min(T) {
                    V::store_rows(sums[c][t], self.out::<V>(c, token + t));
                }
            }
        }
    }

    /// The outputs of column `c` for row of inputs `token`.
    ///
    /// # Safety
    /// No other slice of them is alive.
    #[inline(always)]
    unsafe fn out<V: Simd>(&self, c: usize, token: usize) -> &'a mut [f32] {
        let (strip, part) = self.place::<V>(c);
        // SAFETY: the job owns its outputs; the rest is the caller's promise.
        unsafe {
            self.job
                .out(token, strip * STRIP_ROWS + part * V::ROWS, V::ROWS)
        }
    }
}
