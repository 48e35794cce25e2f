//! A chunk: four blocks of keys and values.

use std::ops::Range;

use super::cache::{BLOCK_SIZE, CachedHead};
use crate::simd::LANES;

/// Blocks between two updates of the running maximum.
pub(super) const CHUNK_BLOCKS: usize = 4;

/// Positions of a chunk.
pub(super) const CHUNK: usize = CHUNK_BLOCKS * BLOCK_SIZE;

/// For one query: scores, later weights, of the positions of a chunk.
pub(super) type ChunkScores = [[f32; LANES]; CHUNK_BLOCKS];

/// Four blocks of keys and values, from a position that is a multiple of 64.
pub(super) struct Chunk<'a, E> {
    pub(super) start: usize,
    pub(super) heads: [CachedHead<'a, E>; CHUNK_BLOCKS],
    /// The chunk after this, as far as it is to be read and nobody has asked for it yet.
    pub(super) next: [CachedHead<'a, E>; CHUNK_BLOCKS],
}

impl<E> Chunk<'_, E> {
    /// The part of `positions` within the chunk, counted from its start.
    #[inline(always)]
    pub(super) fn clip(&self, positions: &Range<usize>) -> Range<usize> {
        let relative = |position: usize| position.saturating_sub(self.start).min(CHUNK);
        relative(positions.start)..relative(positions.end)
    }
}
