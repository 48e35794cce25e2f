//! Sequences, what attention to them is exactly, and how to run them through a cache.

use half::f16;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use crate::attention::{
    AttentionParams, BLOCK_SIZE, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};
use crate::testing::noise;
use crate::{Context, Isa};

pub(super) const F32: KvDtype = KvDtype::F32;
pub(super) const F16: KvDtype = KvDtype::F16;
pub(super) const Q8: KvDtype = KvDtype::Q8;

pub(super) fn params(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionParams {
    AttentionParams {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        sliding_window: None,
        softcap: None,
    }
}

/// A sequence with its fused projections: row i is [queries, keys, values] of position i.
pub(super) struct Sequence {
    pub(super) qkv: Vec<f32>,
    pub(super) stride: usize,
    pub(super) len: usize,
}

impl Sequence {
    pub(super) fn new(params: &AttentionParams, len: usize, seed: u64) -> Self {
        let stride = (params.heads + 2 * params.kv_heads) * params.head_dim;
        Self {
            qkv: noise(len * stride, seed),
            stride,
            len,
        }
    }

    /// Dense attention in f64 to what a cache of `dtype` holds.
    pub(super) fn reference(&self, params: &AttentionParams, dtype: KvDtype) -> Vec<f64> {
        let (dim, group) = (params.head_dim, params.group());
        // Position j of the key or value head that begins at column `at` of a row.
        let cached = |j: usize, at: usize| -> Vec<f64> {
            let head = &self.qkv[j * self.stride + at..][..dim];
            match dtype {
                KvDtype::F32 => head.iter().map(|x| f64::from(*x)).collect(),
                KvDtype::F16 => head.iter().map(|x| f16::from_f32(*x).to_f64()).collect(),
                KvDtype::Q8 => head.chunks(32).flat_map(eight_bits).collect(),
            }
        };
        let heads = |first: usize| -> Vec<Vec<Vec<f64>>> {
            let columns = (first..).step_by(dim).take(params.kv_heads);
            columns
                .map(|at| (0..self.len).map(|j| cached(j, at)).collect())
                .collect()
        };
        let keys = heads(params.heads * dim);
        let values = heads((params.heads + params.kv_heads) * dim);
        let mut out = Vec::new();
        for position in 0..self.len {
            let first = (position + 1).saturating_sub(params.sliding_window.unwrap_or(usize::MAX));
            for head in 0..params.heads {
                let query = &self.qkv[position * self.stride + head * dim..][..dim];
                let (keys, values) = (&keys[head / group], &values[head / group]);
                let score = |j: usize| {
                    let products = query.iter().zip(&keys[j]).map(|(q, k)| f64::from(*q) * k);
                    let dot: f64 = products.sum();
                    let score = dot * f64::from(params.scale);
                    params
                        .softcap
                        .map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
                };
                let weights: Vec<f64> = (first..=position).map(|j| score(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                out.extend((0..dim).map(|d| {
                    let weighted = (first..=position)
                        .zip(&weights)
                        .map(|(j, w)| w * values[j][d]);
                    weighted.sum::<f64>() / sum
                }));
            }
        }
        out
    }
}

/// A group as 8 bits hold it.
fn eight_bits(group: &[f32]) -> Vec<f64> {
    let largest = group.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = f16::from_f32(largest / 127.0).to_f32();
    let steps = 1.0 / scale;
    group
        .iter()
        .map(|x| f64::from((x * steps).round_ties_even().clamp(-127.0, 127.0)) * f64::from(scale))
        .collect()
}

/// Runs sequences through a cache with shuffled blocks, step by step.
pub(super) struct Runner<'a> {
    params: AttentionParams,
    sequences: Vec<&'a Sequence>,
    pub(super) pool: KvPool,
    block_tables: Vec<Vec<u32>>,
    pub(super) done: Vec<usize>,
    pub(super) out: Vec<Vec<f32>>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        params: AttentionParams,
        dtype: KvDtype,
        sequences: &[&'a Sequence],
        seed: u64,
    ) -> Self {
        let blocks: Vec<_> = sequences
            .iter()
            .map(|s| s.len.div_ceil(BLOCK_SIZE))
            .collect();
        let total = blocks.iter().sum::<usize>() + 3;
        let mut ids: Vec<u32> = (0..total as u32).collect();
        ids.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut pool = KvPool::new(total, params.kv_heads, params.head_dim, dtype).unwrap();
        // What a former request left behind must not matter.
        let garbage = vec![f32::NAN; params.kv_heads * params.head_dim];
        let rows = Rows {
            data: &garbage,
            stride: 0,
        };
        let slots: Vec<u32> = (0..16 * total as u32).collect();
        pool.write(&Context::new(Isa::Scalar, 1), &slots, rows, rows);
        Self {
            params,
            sequences: sequences.to_vec(),
            pool,
            block_tables: blocks.iter().map(|n| ids.drain(..n).collect()).collect(),
            done: vec![0; sequences.len()],
            out: vec![Vec::new(); sequences.len()],
        }
    }

    /// One batch of (sequence, rows) pairs.
    pub(super) fn step(&mut self, ctx: &Context, batch: &[(usize, usize)]) {
        let AttentionParams {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.params;
        let (mut qkv, mut slots) = (Vec::new(), Vec::new());
        let (mut query_start_loc, mut seq_lens) = (vec![0], Vec::new());
        let (mut block_tables, mut block_table_start) = (Vec::new(), vec![0]);
        let stride = self.sequences[0].stride;
        for (sequence, rows) in batch {
            let rows = self.done[*sequence]..self.done[*sequence] + rows;
            let table = &mut self.block_tables[*sequence];
            qkv.extend_from_slice(
                &self.sequences[*sequence].qkv[rows.start * stride..rows.end * stride],
            );
            slots.extend(rows.clone().map(|i| table[i / 16] * 16 + (i % 16) as u32));
            query_start_loc.push(slots.len() as u32);
            seq_lens.push(rows.end as u32);
            // Blocks before every window of this step may have been freed.
            let window = self.params.sliding_window.unwrap_or(usize::MAX);
            let freed = (rows.start + 1).saturating_sub(window) / 16;
            table[..freed].fill(u32::MAX);
            block_tables.extend_from_slice(&table[..rows.end.div_ceil(16)]);
            block_table_start.push(block_tables.len() as u32);
            self.done[*sequence] = rows.end;
        }
        let part = |head: usize| Rows {
            data: &qkv[head * head_dim..],
            stride,
        };
        self.pool
            .write(ctx, &slots, part(heads), part(heads + kv_heads));
        let batch_view = PagedBatch {
            query_start_loc: &query_start_loc,
            seq_lens: &seq_lens,
            block_tables: &block_tables,
            block_table_start: &block_table_start,
        };
        let mut out = vec![f32::NAN; slots.len() * heads * head_dim];
        paged_attention(
            ctx,
            &self.params,
            part(0),
            &self.pool,
            &batch_view,
            &mut out,
        );
        let mut out = out.as_slice();
        for (sequence, rows) in batch {
            let (own, rest) = out.split_at(rows * heads * head_dim);
            self.out[*sequence].extend_from_slice(own);
            out = rest;
        }
    }
}

/// All rows of one sequence, in chunks of `chunk`.
pub(super) fn run_alone(
    ctx: &Context,
    params: AttentionParams,
    dtype: KvDtype,
    sequence: &Sequence,
    chunk: usize,
) -> Vec<f32> {
    let mut runner = Runner::new(params, dtype, &[sequence], chunk as u64);
    while runner.done[0] < sequence.len {
        runner.step(ctx, &[(0, chunk.min(sequence.len - runner.done[0]))]);
    }
    runner.out.remove(0)
}
