//! Attention against that of the CPU, and against itself under every way to run the same rows.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{assert_same_bits, values};
use matou_gpu::{AttentionStep, KvCache, Stream};
use matou_kernels::{
    AttentionParams, BLOCK_SIZE, Context, Isa, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};

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

fn row_len(params: &AttentionParams) -> usize {
    (params.heads + 2 * params.kv_heads) * params.head_dim
}

/// A sequence's fused projections: row i is `[queries | keys | values]` of position i.
fn sequence(params: &AttentionParams, len: usize, seed: u32) -> Vec<f32> {
    let values = values(len * row_len(params), seed).into_iter();
    values.map(|x| 2.0 * x).collect()
}

/// A batch as both the CPU and the device take it.
#[derive(Default)]
struct Batch {
    qkv: Vec<f32>,
    slots: Vec<u32>,
    positions: Vec<u32>,
    query_start_loc: Vec<u32>,
    seq_lens: Vec<u32>,
    block_tables: Vec<u32>,
    block_table_start: Vec<u32>,
}

/// Sequences that run through caches with mixed-up blocks, step by step.
struct Runner<'a> {
    params: AttentionParams,
    sequences: &'a [Vec<f32>],
    block_tables: Vec<Vec<u32>>,
    num_blocks: usize,
    done: Vec<usize>,
    out: Vec<Vec<f32>>,
}

impl<'a> Runner<'a> {
    fn new(params: AttentionParams, sequences: &'a [Vec<f32>], seed: usize) -> Self {
        let blocks: Vec<usize> = (sequences.iter())
            .map(|sequence| (sequence.len() / row_len(&params)).div_ceil(BLOCK_SIZE))
            .collect();
        let num_blocks = blocks.iter().sum::<usize>() + 3;
        // All numbers, in an order that depends on the seed.
        let mut numbers: Vec<u32> = (0..num_blocks as u32).collect();
        numbers.sort_by_key(|n| (*n as usize + 1) * (2 * seed + 7919) % 1_000_003 % 997);
        Self {
            params,
            sequences,
            block_tables: blocks
                .iter()
                .map(|n| numbers.drain(..n).collect())
                .collect(),
            num_blocks,
            done: vec![0; sequences.len()],
            out: vec![Vec::new(); sequences.len()],
        }
    }

    /// The next rows of some sequences.
    fn batch(&mut self, parts: &[(usize, usize)]) -> Batch {
        let mut batch = Batch {
            query_start_loc: vec![0],
            block_table_start: vec![0],
            ..Batch::default()
        };
        let len = row_len(&self.params);
        for &(sequence, rows) in parts {
            let rows = self.done[sequence]..self.done[sequence] + rows;
            let table = &mut self.block_tables[sequence];
            let qkv = &self.sequences[sequence][rows.start * len..rows.end * len];
            batch.qkv.extend_from_slice(qkv);
            let slots = rows.clone().map(|i| table[i / 16] * 16 + (i % 16) as u32);
            batch.slots.extend(slots);
            batch.positions.extend(rows.clone().map(|i| i as u32));
            batch.query_start_loc.push(batch.slots.len() as u32);
            batch.seq_lens.push(rows.end as u32);
            // Blocks before every window of this step may have been freed.
            let window = self.params.sliding_window.unwrap_or(usize::MAX);
            let freed = (rows.start + 1).saturating_sub(window) / 16;
            table[..freed].fill(u32::MAX);
            batch
                .block_tables
                .extend_from_slice(&table[..rows.end.div_ceil(16)]);
            batch
                .block_table_start
                .push(batch.block_tables.len() as u32);
            self.done[sequence] = rows.end;
        }
        batch
    }

    /// Takes the results of a batch apart.
    fn keep(&mut self, parts: &[(usize, usize)], mut out: &[f32]) {
        for &(sequence, rows) in parts {
            let (own, rest) = out.split_at(rows * self.params.heads * self.params.head_dim);
            self.out[sequence].extend_from_slice(own);
            out = rest;
        }
    }

    /// A cache in which a former request left nothing but NaN.
    fn cache(&self, stream: &Stream, dtype: KvDtype) -> KvCache {
        let AttentionParams {
            kv_heads, head_dim, ..
        } = self.params;
        let cache = KvCache::new(stream, 2, self.num_blocks, kv_heads, head_dim, dtype).unwrap();
        // Each block is a request: little to attend to.
        let blocks = self.num_blocks as u32;
        let starts: Vec<u32> = (0..=blocks).map(|block| 16 * block).collect();
        let numbers: Vec<u32> = (0..=blocks).collect();
        let slots: Vec<u32> = (0..16 * blocks).collect();
        let step = AttentionStep::new(
            stream,
            &starts,
            &vec![16; blocks as usize],
            &numbers[..blocks as usize],
            &numbers,
            &slots.iter().map(|slot| slot % 16).collect::<Vec<_>>(),
            &slots,
        )
        .unwrap();
        let garbage = vec![f32::NAN; slots.len() * row_len(&self.params)];
        let garbage = stream.upload(&garbage, slots.len(), row_len(&self.params));
        let garbage = garbage.unwrap();
        stream
            .attend(&cache, 1, &self.params, &garbage, &step)
            .unwrap();
        cache
    }

    /// One step on the device, in the second of two layers.
    fn step(&mut self, stream: &Stream, cache: &KvCache, parts: &[(usize, usize)]) {
        let batch = self.batch(parts);
        let step = AttentionStep::new(
            stream,
            &batch.query_start_loc,
            &batch.seq_lens,
            &batch.block_tables,
            &batch.block_table_start,
            &batch.positions,
            &batch.slots,
        )
        .unwrap();
        let qkv = stream
            .upload(&batch.qkv, batch.slots.len(), row_len(&self.params))
            .unwrap();
        let out = stream.attend(cache, 1, &self.params, &qkv, &step).unwrap();
        self.keep(parts, &stream.read(&out).unwrap());
    }
}

/// All rows of one sequence on the device, in chunks.
fn alone(
    stream: &Stream,
    params: AttentionParams,
    dtype: KvDtype,
    sequence: &Vec<f32>,
    chunk: usize,
) -> Vec<f32> {
    let mut runner = Runner::new(params, std::slice::from_ref(sequence), chunk);
    let cache = runner.cache(stream, dtype);
    let len = sequence.len() / row_len(&params);
    while runner.done[0] < len {
        let rows = chunk.min(len - runner.done[0]);
        runner.step(stream, &cache, &[(0, rows)]);
    }
    runner.out.remove(0)
}

/// The same by the CPU's kernels, whole.
fn on_cpu(params: AttentionParams, dtype: KvDtype, sequence: &Vec<f32>) -> Vec<f32> {
    let mut runner = Runner::new(params, std::slice::from_ref(sequence), 1);
    let rows = sequence.len() / row_len(&params);
    let batch = runner.batch(&[(0, rows)]);
    let AttentionParams {
        heads,
        kv_heads,
        head_dim,
        ..
    } = params;
    let context = Context::new(Isa::Scalar, 1);
    let mut pool = KvPool::new(runner.num_blocks, kv_heads, head_dim, dtype).unwrap();
    let part = |head: usize| Rows {
        data: &batch.qkv[head * head_dim..],
        stride: row_len(&params),
    };
    pool.write(&context, &batch.slots, part(heads), part(heads + kv_heads));
    let paged = PagedBatch {
        query_start_loc: &batch.query_start_loc,
        seq_lens: &batch.seq_lens,
        block_tables: &batch.block_tables,
        block_table_start: &batch.block_table_start,
    };
    let mut out = vec![0.0; rows * heads * head_dim];
    paged_attention(&context, &params, part(0), &pool, &paged, &mut out);
    out
}

#[track_caller]
fn assert_close(out: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(out.len(), expected.len(), "{what}: lengths");
    for (i, (a, b)) in out.iter().zip(expected).enumerate() {
        let error = (a - b).abs();
        assert!(
            error <= tolerance * (1.0 + b.abs()),
            "{what}: element {i} is {a}, not {b}"
        );
    }
}

/// How far a cache's type may be from the CPU's, whose scales are rounded.
fn tolerance(dtype: KvDtype) -> f32 {
    match dtype {
        KvDtype::F32 => 1e-5,
        KvDtype::F16 => 2e-3,
        KvDtype::Q8 => 2e-2,
    }
}

#[test]
fn every_head_size_and_group_agrees_with_the_cpu() {
    let Some(stream) = common::stream() else {
        return;
    };
    let shapes = [
        (1, 1, 32),
        (9, 3, 64),
        (7, 1, 96),
        (12, 1, 32),
        (2, 2, 256),
        (16, 2, 128),
        (3, 3, 6),
        (4, 2, 72),
    ];
    for (heads, kv_heads, head_dim) in shapes {
        let params = params(heads, kv_heads, head_dim);
        let sequence = sequence(&params, 90, 1);
        for dtype in [KvDtype::F32, KvDtype::F16, KvDtype::Q8] {
            if dtype == KvDtype::Q8 && head_dim % 32 != 0 {
                continue;
            }
            let expected = on_cpu(params, dtype, &sequence);
            let out = alone(&stream, params, dtype, &sequence, 90);
            let what = format!("{params:?}, {dtype:?}");
            assert_close(&out, &expected, tolerance(dtype), &what);
        }
    }
}

#[test]
fn long_contexts_windows_and_caps_agree_with_the_cpu() {
    let Some(stream) = common::stream() else {
        return;
    };
    for (sliding_window, softcap) in [
        (None, None),
        (Some(70), None),
        (Some(600), None),
        (None, Some(2.0)),
    ] {
        let params = AttentionParams {
            sliding_window,
            softcap,
            scale: 1.0,
            ..params(4, 2, 16)
        };
        let sequence = sequence(&params, 1100, 2);
        let expected = on_cpu(params, KvDtype::F32, &sequence);
        let out = alone(&stream, params, KvDtype::F32, &sequence, 1100);
        assert_close(&out, &expected, 1e-5, &format!("{params:?}"));
    }
}

#[test]
fn chunks_and_blocks_do_not_change_a_bit() {
    let Some(stream) = common::stream() else {
        return;
    };
    for (window, dtype) in [
        (None, KvDtype::F16),
        (Some(600), KvDtype::F32),
        (Some(70), KvDtype::Q8),
    ] {
        let params = AttentionParams {
            sliding_window: window,
            ..params(3, 1, 32)
        };
        let sequence = sequence(&params, 700, 3);
        let whole = alone(&stream, params, dtype, &sequence, 700);
        assert!(whole.iter().all(|x| x.is_finite()));
        for chunk in [37, 512] {
            let out = alone(&stream, params, dtype, &sequence, chunk);
            assert_same_bits(&out, &whole, &format!("{dtype:?}, chunks of {chunk}"));
        }
        // The last rows one at a time, as they are generated.
        let mut runner = Runner::new(params, std::slice::from_ref(&sequence), 9);
        let cache = runner.cache(&stream, dtype);
        runner.step(&stream, &cache, &[(0, 670)]);
        for _ in 670..700 {
            runner.step(&stream, &cache, &[(0, 1)]);
        }
        assert_same_bits(&runner.out[0], &whole, &format!("{dtype:?}, one at a time"));
    }
}

#[test]
fn batch_mates_do_not_change_a_bit() {
    let Some(stream) = common::stream() else {
        return;
    };
    let params = params(9, 3, 64);
    let sequences: Vec<Vec<f32>> = (5..)
        .zip([530, 40, 1, 17, 200])
        .map(|(seed, len)| sequence(&params, len, seed))
        .collect();
    let expected: Vec<Vec<f32>> = (sequences.iter())
        .map(|sequence| alone(&stream, params, KvDtype::F16, sequence, 1000))
        .collect();
    let mut runner = Runner::new(params, &sequences, 7);
    let cache = runner.cache(&stream, KvDtype::F16);
    // Prompts whole and in parts beside rows that are generated, and one that sits out.
    let steps: [&[(usize, usize)]; 4] = [
        &[(0, 520), (1, 20)],
        &[(1, 1), (2, 1), (0, 1), (3, 9)],
        &[(3, 8), (4, 0), (0, 3), (1, 19)],
        &[(4, 200), (0, 6)],
    ];
    for parts in steps {
        runner.step(&stream, &cache, parts);
    }
    for (out, expected) in runner.out.iter().zip(&expected) {
        assert_same_bits(out, expected, "in a batch");
    }
}

#[test]
fn a_step_whose_states_take_several_passes_is_whole() {
    let Some(stream) = common::stream() else {
        return;
    };
    // Tokens that attend to themselves alone: their values come back.
    let params = AttentionParams {
        sliding_window: Some(1),
        ..params(32, 1, 256)
    };
    let tokens = 2100;
    let mut qkv = vec![0.5; tokens * row_len(&params)];
    let values = values(tokens * 256, 11);
    for (row, values) in qkv.chunks_mut(row_len(&params)).zip(values.chunks(256)) {
        row[33 * 256..].copy_from_slice(values);
    }
    let cache = KvCache::new(&stream, 1, tokens.div_ceil(16), 1, 256, KvDtype::F32).unwrap();
    let all = [0, tokens as u32];
    let blocks: Vec<u32> = (0..tokens.div_ceil(16) as u32).collect();
    let slots: Vec<u32> = (0..tokens as u32).collect();
    let table = [0, blocks.len() as u32];
    let step =
        AttentionStep::new(&stream, &all, &all[1..], &blocks, &table, &slots, &slots).unwrap();
    let qkv = stream.upload(&qkv, tokens, row_len(&params)).unwrap();
    let before = stream.counts().dispatches;
    let out = stream.attend(&cache, 0, &params, &qkv, &step).unwrap();
    // Keys and values, then splits and their merge, twice.
    assert_eq!(stream.counts().dispatches - before, 5);
    let out = stream.read(&out).unwrap();
    for (out, values) in out.chunks(32 * 256).zip(values.chunks(256)) {
        assert!(out.chunks(256).all(|head| head == values));
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let Some(stream) = common::stream() else {
        return;
    };
    let params = AttentionParams {
        scale: 300.0,
        ..params(2, 1, 16)
    };
    let sequence = sequence(&params, 150, 9);
    let out = alone(&stream, params, KvDtype::F32, &sequence, 150);
    assert!(out.iter().all(|x| x.is_finite()));
}

#[test]
fn caches_beyond_a_buffer_or_without_kernels_are_refused_with_numbers() {
    let Some(stream) = common::stream() else {
        return;
    };
    let most = KvCache::max_blocks(stream.device(), 8, 128, KvDtype::F16).unwrap();
    let error = KvCache::new(&stream, 2, most + 1, 8, 128, KvDtype::F16);
    let message = error.err().expect("too large").to_string();
    assert!(
        message.contains(&format!("(the most is {most})")),
        "{message}"
    );
    let error = KvCache::new(&stream, 2, 1, 8, 80, KvDtype::Q8);
    let message = error.err().expect("no kernel").to_string();
    assert!(message.contains("heads of 80 elements"), "{message}");
    let bytes = |dtype| KvCache::block_bytes(8, 64, dtype).unwrap();
    assert_eq!(bytes(KvDtype::F16), 16 * 8 * 64 * 2 * 2);
    assert_eq!(bytes(KvDtype::Q8), 16 * 8 * 2 * (64 + 2 * 4));
}
