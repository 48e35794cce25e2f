//! Against dense attention in f64, and against itself under every way to run the same rows.

use super::*;
use crate::testing::contexts;
use crate::{Context, Isa};
use runner::{F16, F32, Q8, Runner, Sequence, params, run_alone};

mod runner;

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
