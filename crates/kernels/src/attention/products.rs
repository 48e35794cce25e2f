//! The two matrix products of attention, for a register tile of queries.
//!
//! Both sum over rows of vectors, shared by M queries, with a broadcast number for each query:
//!
//! ```text
//!   scores        [M, 16·N positions] = queries [M, head_dim] · keys [head_dim, 16·N positions]
//!   weighted sum  [M, 16·N dims]     += weights [M, positions] · values [positions, 16·N dims]
//! ```
//!
//! Each element of a result is one chain of multiply-adds in ascending order (of dimension or
//! position), so it does not matter which queries and columns share a tile. A tile of M = 6 and N = 4
//! keeps 24 `zmm` accumulators, 4 operands and a broadcast in 32 registers, and does 24 multiply-adds
//! for 10 loads. Elements in 8 bits cost a conversion and a multiplication by their scale on top, per
//! load, not per multiply-add.
//!
//! The blocks of a request are 4 KiB here and there, too short for the CPU's own prefetchers. So
//! while the scores read keys they ask for those of the next chunk, and while the weighted sum reads
//! values, for those of the next: a whole chunk ahead, because its 16 KiB (head size 64, f16) take
//! about as long to arrive as they take to use. They are asked into L2, as weights are (see
//! `matmul::integer`). One token at depth 4096 of Llama 3.2 1B reads its cache at 24 GiB/s so; with
//! requests into L1, each for the loop after, at 16 GiB/s.

use std::ops::Range;

use super::cache::BLOCK_SIZE;
use super::chunk::{CHUNK_BLOCKS, Chunk, ChunkScores};
use super::element::{CacheElement, SCALE_GROUP};
use super::state::STATE_HEAD;
use crate::simd::{LANES, Simd};

/// Vectors of elements in a cache line.
const fn per_line<E>() -> usize {
    64 / size_of::<[E; LANES]>()
}

/// Calls `$function::<S, E, M, …>` with M = `$m`, which is 1 to 6.
macro_rules! with_queries {
    ($m:expr, $function:ident::<$s:ty, $e:ty, $n:tt>($($argument:expr),*)) => {
        match $m {
            1 => $function::<$s, $e, 1, { $n }>($($argument),*),
            2 => $function::<$s, $e, 2, { $n }>($($argument),*),
            3 => $function::<$s, $e, 3, { $n }>($($argument),*),
            4 => $function::<$s, $e, 4, { $n }>($($argument),*),
            5 => $function::<$s, $e, 5, { $n }>($($argument),*),
            6 => $function::<$s, $e, 6, { $n }>($($argument),*),
            m => unreachable!("a register tile of {m} queries"),
        }
    };
}

/// The scores of the queries (`scores.len()` rows of `queries`) at the blocks of the chunk.
#[inline(always)]
pub(super) fn scores<S: Simd, E: CacheElement>(
    simd: S,
    queries: &[f32],
    chunk: &Chunk<'_, E>,
    blocks: Range<usize>,
    scores: &mut [ChunkScores],
) {
    let m = scores.len();
    if S::TILE[1] == CHUNK_BLOCKS && blocks.len() == CHUNK_BLOCKS {
        with_queries!(
            m,
            score_tile::<S, E, CHUNK_BLOCKS>(simd, queries, chunk, 0, scores)
        );
        return;
    }
    for block in blocks {
        with_queries!(
            m,
            score_tile::<S, E, 1>(simd, queries, chunk, block, scores)
        );
    }
}

#[inline(always)]
fn score_tile<S: Simd, E: CacheElement, const M: usize, const N: usize>(
    simd: S,
    queries: &[f32],
    chunk: &Chunk<'_, E>,
    first_block: usize,
    scores: &mut [ChunkScores],
) {
    let head_dim = queries.len() / M;
    let mut rows = [&queries[..0]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &queries[m * head_dim..(m + 1) * head_dim];
    }
    let mut keys = [chunk.heads[0].keys; N];
    let mut next_keys = keys;
    let mut key_scales = [chunk.heads[0].key_scales; N];
    for n in 0..N {
        let head = &chunk.heads[first_block + n];
        keys[n] = &head.keys[..head_dim];
        next_keys[n] = chunk.next[first_block + n].keys;
        key_scales[n] = head.key_scales;
    }
    let mut sums = [[simd.splat(0.0); N]; M];
    let mut scale = [simd.splat(1.0); N];
    for dim in 0..head_dim {
        if dim % per_line::<E>() == 0 {
            for next_keys in next_keys {
                if let Some(keys) = next_keys.get(dim) {
                    simd.prefetch(keys);
                }
            }
        }
        let mut operand = [simd.splat(0.0); N];
        for n in 0..N {
            operand[n] = E::load(simd, &keys[n][dim]);
            if E::SCALED {
                if dim % SCALE_GROUP == 0 {
                    scale[n] = simd.load_f16(&key_scales[n][dim / SCALE_GROUP]);
                }
                operand[n] = simd.mul(operand[n], scale[n]);
            }
        }
        for m in 0..M {
            let query = simd.splat(rows[m][dim]);
            for n in 0..N {
                sums[m][n] = simd.mul_add(operand[n], query, sums[m][n]);
            }
        }
    }
    for (sums, scores) in sums.iter().zip(scores) {
        for (sum, score) in sums.iter().zip(&mut scores[first_block..]) {
            simd.store(score, *sum);
        }
    }
}

/// Adds the values at `positions` (of the chunk), weighted, to the sums of the queries: `weights`
/// holds a row for each, `state` `weights.len()` rows of [`STATE_HEAD`] vectors and then the sums.
#[inline(always)]
pub(super) fn add_weighted_values<S: Simd, E: CacheElement>(
    simd: S,
    weights: &[ChunkScores],
    chunk: &Chunk<'_, E>,
    positions: Range<usize>,
    state: &mut [[f32; LANES]],
) {
    if positions.is_empty() {
        return;
    }
    let m = weights.len();
    let columns = state.len() / m - STATE_HEAD;
    let mut column = 0;
    while column < columns {
        let positions = positions.clone();
        if S::TILE[1] == 4 && columns - column >= 4 {
            with_queries!(
                m,
                sum_tile::<S, E, 4>(simd, weights, chunk, positions, column, state)
            );
            column += 4;
        } else {
            with_queries!(
                m,
                sum_tile::<S, E, 1>(simd, weights, chunk, positions, column, state)
            );
            column += 1;
        }
    }
}

#[inline(always)]
fn sum_tile<S: Simd, E: CacheElement, const M: usize, const N: usize>(
    simd: S,
    weights: &[ChunkScores],
    chunk: &Chunk<'_, E>,
    positions: Range<usize>,
    column: usize,
    state: &mut [[f32; LANES]],
) {
    let weights: &[ChunkScores; M] = weights.try_into().expect("a row of weights a query");
    let row = state.len() / M;
    let columns = row - STATE_HEAD;
    let mut sums = [[simd.splat(0.0); N]; M];
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = simd.load(&state[m * row + STATE_HEAD + column + n]);
        }
    }
    #[expect(
        clippy::needless_range_loop,
        reason = "indexes blocks and weights alike"
    )]
    for block in positions.start / BLOCK_SIZE..positions.end.div_ceil(BLOCK_SIZE) {
        let start = block * BLOCK_SIZE;
        let first = positions.start.saturating_sub(start);
        let last = (positions.end - start).min(BLOCK_SIZE);
        let (head, next_values) = (&chunk.heads[block], chunk.next[block].values);
        // A position's scale for each vector of the tile.
        let mut scales = [[1.0; BLOCK_SIZE]; N];
        if E::SCALED {
            for n in 0..N {
                let group = (column + n) * LANES / SCALE_GROUP;
                simd.store(&mut scales[n], simd.load_f16(&head.value_scales[group]));
            }
        }
        for offset in first..last {
            let first = offset * columns + column;
            for n in (0..N).step_by(per_line::<E>()) {
                if let Some(values) = next_values.get(first + n) {
                    simd.prefetch(values);
                }
            }
            let values = &head.values[first..first + N];
            let mut operand = [simd.splat(0.0); N];
            for n in 0..N {
                operand[n] = E::load(simd, &values[n]);
                if E::SCALED {
                    operand[n] = simd.mul(operand[n], simd.splat(scales[n][offset]));
                }
            }
            for m in 0..M {
                let weight = simd.splat(weights[m][block][offset]);
                for n in 0..N {
                    sums[m][n] = simd.mul_add(operand[n], weight, sums[m][n]);
                }
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            simd.store(&mut state[m * row + STATE_HEAD + column + n], sums[m][n]);
        }
    }
}
