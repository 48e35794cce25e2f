//! Attention of a few neighbouring queries of one request to one key-value head.
//!
//! ```text
//!   positions   0          64         128   …   512        576   …   1024
//!               ├─ chunk ──┼─ chunk ──┼─ … ─────┼─ chunk ──┼─ … ─────┤
//!               ├─ split ───────────────────────┼─ split ────────────┤
//! ```
//!
//! A query visits the chunks that its bounds overlap, in ascending order. For each it computes
//! scores, raises its running maximum, rescales what it has, and adds the weighted values (the online
//! softmax of Milakov & Gimelshein 2018, as in FlashAttention). It starts afresh in each split, and
//! the splits' states are merged in ascending order. All of this follows absolute positions, so a
//! query's result has the same bits whichever queries share its tile, and whether its splits were
//! computed by one thread or by several.
//!
//! Bounds (causal, window) are iterated: products cover the blocks that overlap them, scores outside
//! count as -∞, and values outside are never read. Blocks that no bound overlaps are not looked at.

use std::ops::Range;

use super::cache::{BLOCK_SIZE, CacheView};
use super::chunk::{CHUNK, CHUNK_BLOCKS, Chunk, ChunkScores};
use super::element::CacheElement;
use super::params::AttentionParams;
use super::products::{add_weighted_values, scores};
use super::state::{MAXIMUM, STATE_HEAD, WEIGHT_SUM};
use crate::simd::{Kernel, LANES, Simd, exp, sigmoid};

/// Positions that one task attends to at a time: 128 KiB of cache at head size 64 in f16, enough to
/// hide what starting a task costs, little enough to share a context of 4k evenly.
pub(super) const SPLIT: usize = 512;

/// Neighbouring rows of one request, with all query heads that share a key-value head.
pub(super) struct QueryTile<'a, E> {
    pub(super) params: &'a AttentionParams,
    pub(super) cache: CacheView<'a, E>,
    /// The blocks of the request.
    pub(super) block_table: &'a [u32],
    pub(super) kv_head: usize,
    /// The absolute position of the first row.
    pub(super) position: usize,
    pub(super) rows: usize,
}

impl<E: CacheElement> QueryTile<'_, E> {
    /// How many queries the tile has: `rows` × query heads to a key-value head, rows outermost.
    pub(super) fn queries(&self) -> usize {
        self.rows * self.params.group()
    }

    /// Vectors in the state of a query.
    pub(super) fn state_row(&self) -> usize {
        STATE_HEAD + self.cache.shape.value_vectors()
    }

    /// The positions that a row attends to.
    pub(super) fn bounds(&self, row: usize) -> Range<usize> {
        let end = self.position + row + 1;
        let window = self.params.sliding_window.unwrap_or(usize::MAX);
        end.saturating_sub(window)..end
    }

    /// The splits that the tile's queries attend to.
    pub(super) fn splits(&self) -> Range<usize> {
        let (start, end) = (self.bounds(0).start, self.bounds(self.rows - 1).end);
        start / SPLIT..end.div_ceil(SPLIT)
    }

    /// The chunk at `start`; blocks outside `span` are left empty.
    #[inline(always)]
    fn chunk(&self, start: usize, span: &Range<usize>) -> Chunk<'_, E> {
        let mut chunk = Chunk {
            start,
            heads: Default::default(),
            next: Default::default(),
        };
        let first = span.start.max(start) / BLOCK_SIZE;
        let last = span.end.div_ceil(BLOCK_SIZE);
        for block in first..last.min(start / BLOCK_SIZE + 2 * CHUNK_BLOCKS) {
            let head = self.cache.head(self.block_table[block], self.kv_head);
            let i = block - start / BLOCK_SIZE;
            if i < CHUNK_BLOCKS {
                chunk.heads[i] = head;
            } else {
                chunk.next[i - CHUNK_BLOCKS] = head;
            }
        }
        chunk
    }
}

/// Computes the states of a tile's queries over one split.
pub(super) struct AttendSplit<'a, E> {
    pub(super) tile: &'a QueryTile<'a, E>,
    pub(super) split: usize,
    /// `[queries, head_dim]`, scaled.
    pub(super) queries: &'a [f32],
    /// The positions that each query attends to.
    pub(super) bounds: &'a [Range<usize>],
    /// Scratch: a row for each query.
    pub(super) scores: &'a mut [ChunkScores],
    /// The result: a row of [`QueryTile::state_row`] vectors for each query.
    pub(super) state: &'a mut [[f32; LANES]],
}

impl<E: CacheElement> Kernel for AttendSplit<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let tile = self.tile;
        let row = tile.state_row();
        self.state.fill([0.0; LANES]);
        for state in self.state.chunks_exact_mut(row) {
            state[MAXIMUM][0] = f32::NEG_INFINITY;
        }
        let queries = tile.queries();
        let split = self.split * SPLIT..(self.split + 1) * SPLIT;
        let span = union(self.bounds);
        let span = span.start.max(split.start)..span.end.min(split.end);
        // Register tiles of even sizes: 4 + 4 queries are faster than 6 + 2.
        let step = queries.div_ceil(queries.div_ceil(S::TILE[0]));
        for start in (span.start / CHUNK * CHUNK..span.end).step_by(CHUNK) {
            let mut chunk = tile.chunk(start, &span);
            if start <= span.start {
                // Nothing came before it that could have asked for them.
                for values in chunk.heads.iter().flat_map(|head| head.values) {
                    simd.prefetch(values);
                }
            }
            for first in (0..queries).step_by(step) {
                let part = first..queries.min(first + step);
                let head_dim = tile.params.head_dim;
                attend_chunk(
                    simd,
                    tile,
                    &chunk,
                    &self.bounds[part.clone()],
                    &self.queries[part.start * head_dim..part.end * head_dim],
                    &mut self.scores[part.clone()],
                    &mut self.state[part.start * row..part.end * row],
                );
                chunk.next = Default::default();
            }
        }
        for state in self.state.chunks_exact_mut(row) {
            state[WEIGHT_SUM][0] = simd.sum(simd.load(&state[WEIGHT_SUM]));
        }
    }
}

/// Takes a chunk into the states of the queries of one register tile.
#[inline(always)]
fn attend_chunk<S: Simd, E: CacheElement>(
    simd: S,
    tile: &QueryTile<'_, E>,
    chunk: &Chunk<'_, E>,
    bounds: &[Range<usize>],
    queries: &[f32],
    weights: &mut [ChunkScores],
    state: &mut [[f32; LANES]],
) {
    let span = chunk.clip(&union(bounds));
    if span.is_empty() {
        return;
    }
    let blocks = span.start / BLOCK_SIZE..span.end.div_ceil(BLOCK_SIZE);
    scores(simd, queries, chunk, blocks, weights);

    let row = tile.state_row();
    let mut common = span.clone();
    for (i, bounds) in bounds.iter().enumerate() {
        let bounds = chunk.clip(bounds);
        common = common.start.max(bounds.start)..common.end.min(bounds.end);
        let state = &mut state[i * row..(i + 1) * row];
        weigh(simd, tile.params.softcap, bounds, &mut weights[i], state);
    }
    if common == span {
        add_weighted_values(simd, weights, chunk, span, state);
        return;
    }
    if common.is_empty() {
        common = span.start..span.start;
    }
    // Positions that all queries attend to are shared; the ragged ends before and after are not.
    for (i, bounds) in bounds.iter().enumerate() {
        let bounds = chunk.clip(bounds);
        let before = bounds.start..bounds.end.min(common.start);
        let state = &mut state[i * row..(i + 1) * row];
        add_weighted_values(simd, &weights[i..=i], chunk, before, state);
    }
    add_weighted_values(simd, weights, chunk, common.clone(), state);
    for (i, bounds) in bounds.iter().enumerate() {
        let bounds = chunk.clip(bounds);
        let after = bounds.start.max(common.end)..bounds.end;
        let state = &mut state[i * row..(i + 1) * row];
        add_weighted_values(simd, &weights[i..=i], chunk, after, state);
    }
}

/// From the first to the last position of ascending ranges.
#[inline(always)]
fn union(bounds: &[Range<usize>]) -> Range<usize> {
    match bounds {
        [first, .., last] => first.start..last.end,
        [only] => only.clone(),
        [] => 0..0,
    }
}

/// Turns a query's scores at `bounds` into weights relative to its maximum, which they may raise, and
/// adds them up.
#[inline(always)]
fn weigh<S: Simd>(
    simd: S,
    softcap: Option<f32>,
    bounds: Range<usize>,
    scores: &mut ChunkScores,
    state: &mut [[f32; LANES]],
) {
    if bounds.is_empty() {
        return;
    }
    if let Some(cap) = softcap {
        for scores in scores.iter_mut() {
            simd.store(scores, soft_cap(simd, cap, simd.load(scores)));
        }
    }
    let flat = scores.as_flattened_mut();
    flat[..bounds.start].fill(f32::NEG_INFINITY);
    flat[bounds.end..].fill(f32::NEG_INFINITY);
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for scores in scores.iter() {
        largest = simd.max(simd.load(scores), largest);
    }
    let largest = simd.largest(largest);
    let maximum = state[MAXIMUM][0];
    if largest > maximum {
        let factor = exp(simd, simd.splat(maximum - largest));
        let (head, sums) = state.split_at_mut(STATE_HEAD);
        head[MAXIMUM][0] = largest;
        for x in sums.iter_mut().chain(&mut head[..1]) {
            simd.store(x, simd.mul(simd.load(x), factor));
        }
    }
    let maximum = simd.splat(state[MAXIMUM][0]);
    let mut sum = simd.load(&state[WEIGHT_SUM]);
    for scores in scores {
        let weights = exp(simd, simd.sub(simd.load(scores), maximum));
        simd.store(scores, weights);
        sum = simd.add(sum, weights);
    }
    simd.store(&mut state[WEIGHT_SUM], sum);
}

/// cap · tanh(x / cap), with tanh y = 2·σ(2y) − 1.
#[inline(always)]
fn soft_cap<S: Simd>(simd: S, cap: f32, x: S::F32) -> S::F32 {
    let sigmoid = sigmoid(simd, simd.mul(x, simd.splat(2.0 / cap)));
    simd.mul_add(sigmoid, simd.splat(2.0 * cap), simd.splat(-cap))
}
