//! Against dense attention in f64, and against itself under every way to run the same rows.

use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::Isa;
use crate::testing::{contexts, noise};

const F32: KvDtype = KvDtype::F32;
const F16: KvDtype = KvDtype::F16;
const Q8: KvDtype = KvDtype::Q8;

fn params(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionParams {
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
struct Sequence {
    qkv: Vec<f32>,
    stride: usize,
    len: usize,
}

impl Sequence {
    fn new(params: &AttentionParams, len: usize, seed: u64) -> Self {
        let stride = (params.heads + 2 * params.kv_heads) * params.head_dim;
        Self {
            qkv: noise(len * stride, seed),
            stride,
            len,
        }
    }

    /// Dense attention in f64 to what a cache of `dtype` holds.
    fn reference(&self, params: &AttentionParams, dtype: KvDtype) -> Vec<f64> {
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
struct Runner<'a> {
    params: AttentionParams,
    sequences: Vec<&'a Sequence>,
    pool: KvPool,
    block_tables: Vec<Vec<u32>>,
    done: Vec<usize>,
    out: Vec<Vec<f32>>,
}

impl<'a> Runner<'a> {
    fn new(params: AttentionParams, dtype: KvDtype, sequences: &[&'a Sequence], seed: u64) -> Self {
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
        pool.write(&(0..16 * total as u32).collect::<Vec<_>>(), rows, rows);
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
    fn step(&mut self, ctx: &Context, batch: &[(usize, usize)]) {
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
        self.pool.write(&slots, part(heads), part(heads + kv_heads));
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
fn run_alone(
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

/// A context for each instruction set.
fn isa_contexts() -> Vec<Context> {
    Isa::available()
        .into_iter()
        .map(|isa| Context::new(isa, 2))
        .collect()
}

fn assert_close(out: &[f32], reference: &[f64], tolerance: f64) {
    assert_eq!(out.len(), reference.len());
    for (i, (out, exact)) in out.iter().zip(reference).enumerate() {
        let error = (f64::from(*out) - exact).abs();
        let bound = tolerance * (1.0 + exact.abs());
        assert!(error <= bound, "element {i}: {out} is not {exact}");
    }
}

#[test]
fn every_head_size_and_group_agrees_with_dense_attention() {
    let shapes = [
        (1, 1, 8),
        (3, 3, 16),
        (9, 3, 64),
        (8, 2, 64),
        (5, 1, 72),
        (7, 1, 80),
        (8, 1, 96),
        (16, 1, 128),
        (2, 2, 256),
        (60, 1, 8),
    ];
    for (heads, kv_heads, head_dim) in shapes {
        let params = params(heads, kv_heads, head_dim);
        let sequence = Sequence::new(&params, 90, 1);
        for dtype in [F32, F16, Q8] {
            let reference = sequence.reference(&params, dtype);
            for ctx in isa_contexts() {
                for chunk in [90, 1] {
                    let out = run_alone(&ctx, params, dtype, &sequence, chunk);
                    assert_close(&out, &reference, 2e-6);
                }
            }
        }
    }
}

#[test]
fn long_contexts_agree_with_dense_attention() {
    let params = params(4, 2, 16);
    let sequence = Sequence::new(&params, 1300, 2);
    let reference = sequence.reference(&params, F32);
    for ctx in isa_contexts() {
        assert_close(
            &run_alone(&ctx, params, F32, &sequence, 1300),
            &reference,
            2e-6,
        );
    }
}

#[test]
fn sliding_windows_agree_with_dense_attention_and_read_no_freed_block() {
    for window in [1, 5, 16, 63, 64, 100, 600] {
        let params = AttentionParams {
            sliding_window: Some(window),
            ..params(6, 2, 16)
        };
        let sequence = Sequence::new(&params, 700, 3);
        let reference = sequence.reference(&params, F32);
        for ctx in isa_contexts() {
            for chunk in [700, 37, 1] {
                let out = run_alone(&ctx, params, F32, &sequence, chunk);
                assert_close(&out, &reference, 2e-6);
            }
        }
    }
}

#[test]
fn soft_caps_agree_with_dense_attention() {
    let params = AttentionParams {
        softcap: Some(2.0),
        scale: 1.0,
        ..params(4, 2, 32)
    };
    let sequence = Sequence::new(&params, 100, 4);
    let reference = sequence.reference(&params, F32);
    for ctx in isa_contexts() {
        assert_close(
            &run_alone(&ctx, params, F32, &sequence, 100),
            &reference,
            5e-6,
        );
    }
}

#[test]
fn chunks_and_threads_do_not_change_a_bit() {
    for (window, dtype) in [(None, F16), (Some(600), F32), (Some(70), F16), (None, Q8)] {
        let params = AttentionParams {
            sliding_window: window,
            ..params(6, 2, 24)
        };
        let sequence = Sequence::new(&params, 1100, 5);
        for contexts in contexts().chunks(3) {
            let whole = run_alone(&contexts[0], params, dtype, &sequence, 1100);
            for ctx in contexts {
                for chunk in [1100, 1, 3, 100] {
                    let out = run_alone(ctx, params, dtype, &sequence, chunk);
                    assert!(out == whole, "{window:?}, chunks of {chunk}");
                }
            }
        }
    }
}

#[test]
fn batch_mates_do_not_change_a_bit() {
    let params = params(9, 3, 64);
    let lens = [530, 40, 1, 17, 200];
    let sequences: Vec<_> = (6..)
        .zip(lens)
        .map(|(seed, len)| Sequence::new(&params, len, seed))
        .collect();
    for ctx in contexts() {
        let alone: Vec<_> = sequences
            .iter()
            .map(|s| run_alone(&ctx, params, F16, s, s.len))
            .collect();
        let sequences: Vec<_> = sequences.iter().collect();
        let mut runner = Runner::new(params, F16, &sequences, 7);
        // Prompts whole and in parts beside rows that decode, a request that sits out, and an empty one.
        runner.step(&ctx, &[(0, 520), (1, 20)]);
        runner.step(&ctx, &[(1, 1), (2, 1), (0, 1), (3, 9)]);
        runner.step(&ctx, &[(3, 8), (4, 0), (0, 3), (1, 19)]);
        runner.step(&ctx, &[(4, 200), (0, 6)]);
        assert!(runner.out == alone);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx2_and_avx512_give_the_same_bits() {
    let params = params(6, 2, 40);
    let sequence = Sequence::new(&params, 300, 8);
    let fused = &isa_contexts()[1..];
    for dtype in [F16, Q8] {
        let outs: Vec<_> = fused
            .iter()
            .map(|ctx| run_alone(ctx, params, dtype, &sequence, 300))
            .collect();
        assert!(outs.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let params = AttentionParams {
        scale: 300.0,
        ..params(2, 1, 16)
    };
    let sequence = Sequence::new(&params, 150, 9);
    for ctx in isa_contexts() {
        let out = run_alone(&ctx, params, F32, &sequence, 150);
        assert!(out.iter().all(|x| x.is_finite()));
    }
}

#[test]
#[should_panic(expected = "block 1048576 is beyond the cache")]
fn a_block_beyond_the_pool_panics() {
    let params = params(1, 1, 8);
    let sequence = Sequence::new(&params, 1, 10);
    let mut runner = Runner::new(params, F32, &[&sequence], 1);
    let ctx = Context::new(Isa::Scalar, 1);
    runner.step(&ctx, &[(0, 1)]);
    let batch = PagedBatch {
        query_start_loc: &[0, 1],
        seq_lens: &[1],
        block_tables: &[1 << 20],
        block_table_start: &[0, 1],
    };
    let q = Rows {
        data: &sequence.qkv,
        stride: sequence.stride,
    };
    paged_attention(&ctx, &params, q, &runner.pool, &batch, &mut [0.0; 8]);
}

#[test]
#[should_panic(expected = "requests overlap")]
fn requests_that_share_rows_panic() {
    let params = params(1, 1, 8);
    let pool = KvPool::new(1, 1, 8, F32).unwrap();
    let batch = PagedBatch {
        query_start_loc: &[0, 2, 1, 3],
        seq_lens: &[2, 0, 2],
        block_tables: &[0, 0],
        block_table_start: &[0, 1, 1, 2],
    };
    let q = Rows {
        data: &[0.0; 24],
        stride: 8,
    };
    let ctx = Context::new(Isa::Scalar, 2);
    paged_attention(&ctx, &params, q, &pool, &batch, &mut [0.0; 24]);
}
