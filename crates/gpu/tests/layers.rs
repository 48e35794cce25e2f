//! The small kernels between products, against those of the CPU.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::{assert_same_bits, values};
use matou_gpu::{Activation, Stream};
use matou_kernels::{
    Context, Isa, RopeTable, geglu_tanh, rms_norm, rms_norm_heads, rope_neox, swiglu,
};

fn cpu() -> Context {
    Context::new(Isa::Scalar, 1)
}

/// `noise` beyond ±1.
fn wide(count: usize, seed: u32, factor: f32) -> Vec<f32> {
    let values = values(count, seed).into_iter();
    values.map(|x| x * factor).collect()
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], relative: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        let error = (a - b).abs();
        assert!(
            error <= relative * b.abs() + 1e-30,
            "{what}: element {i} is {a:e}, not {b:e}"
        );
    }
}

/// What `kernel` makes of `x`, in place or not.
fn on_device(
    stream: &Stream,
    x: &[f32],
    rows: usize,
    kernel: impl FnOnce(matou_gpu::Tensor) -> matou_gpu::Tensor,
) -> Vec<f32> {
    let x = stream.upload(x, rows, x.len() / rows.max(1)).unwrap();
    stream.read(&kernel(x)).unwrap()
}

#[test]
fn norms_agree_with_the_cpu_and_fuse_without_a_trace() {
    let Some(stream) = common::stream() else {
        return;
    };
    for (rows, n) in [(1, 1), (3, 63), (2, 576), (5, 1000), (2, 4096)] {
        let (x, delta, weight) = (wide(rows * n, 1, 3.0), values(rows * n, 2), values(n, 3));
        let sum: Vec<f32> = x.iter().zip(&delta).map(|(a, b)| a + b).collect();
        let mut expected = vec![0.0; rows * n];
        rms_norm(&cpu(), &sum, &weight, 1e-5, &mut expected);

        let weight = stream.vector(&weight).unwrap();
        let residual = stream.upload(&x, rows, n).unwrap();
        let delta = stream.upload(&delta, rows, n).unwrap();
        let fused = stream
            .add_rms_norm(&residual, &delta, &weight, 1e-5)
            .unwrap();
        let fused = stream.read(&fused).unwrap();
        assert_close(&fused, &expected, 2e-6, "fused");
        assert_same_bits(&stream.read(&residual).unwrap(), &sum, "the sum");

        let other = stream.upload(&x, rows, n).unwrap();
        stream.add(&other, &delta).unwrap();
        let normed = stream.rms_norm(&other, &weight, 1e-5).unwrap();
        assert_same_bits(
            &stream.read(&normed).unwrap(),
            &fused,
            "one after the other",
        );

        // The last row alone.
        let last = stream.upload(&sum[(rows - 1) * n..], 1, n).unwrap();
        let last = stream.rms_norm(&last, &weight, 1e-5).unwrap();
        let last = stream.read(&last).unwrap();
        assert_same_bits(&last, &fused[(rows - 1) * n..], "a row alone");
    }
}

#[test]
fn heads_are_normed_in_place_and_what_is_beside_them_is_left_alone() {
    let Some(stream) = common::stream() else {
        return;
    };
    for (rows, first, heads, len, gap) in [(3, 64, 5, 64, 70), (2, 0, 1, 256, 1), (4, 3, 2, 72, 0)]
    {
        let stride = first + heads * len + gap;
        let (x, weight) = (wide(rows * stride, 4, 2.0), values(len, 5));
        let mut expected = x.clone();
        rms_norm_heads(&cpu(), &mut expected[first..], stride, heads, &weight, 1e-6);
        let weight = stream.vector(&weight).unwrap();
        let out = on_device(&stream, &x, rows, |x| {
            stream.norm_heads(&x, first, heads, &weight, 1e-6).unwrap();
            x
        });
        assert_close(&out, &expected, 2e-6, "heads");
    }
}

#[test]
fn heads_are_rotated_as_on_the_cpu() {
    let Some(stream) = common::stream() else {
        return;
    };
    for (head_dim, half, heads, others) in [(64, 32, 3, 64), (80, 20, 2, 0), (6, 3, 1, 5)] {
        let (rows, stride) = (5, heads * head_dim + others);
        let inv_freq: Vec<f32> = (0..half).map(|i| 0.7f32.powi(i as i32)).collect();
        let positions = [0, 7, 3, 100, 41];
        let mut table = RopeTable::new(inv_freq.clone(), 1.5);
        table.grow_to(101);
        let x = wide(rows * stride, 6, 2.0);
        let mut expected = x.clone();
        rope_neox(
            &cpu(),
            &table,
            &mut expected,
            stride,
            heads,
            head_dim,
            &positions,
        );

        let angles = |f: fn(f64) -> f64| {
            let angles = positions.iter().flat_map(|position| {
                let angles = inv_freq
                    .iter()
                    .map(|freq| f64::from(*position as f32 * freq));
                angles.map(|angle| (f(angle) * 1.5) as f32)
            });
            stream
                .upload(&angles.collect::<Vec<_>>(), rows, half)
                .unwrap()
        };
        let (cos, sin) = (angles(f64::cos), angles(f64::sin));
        let out = on_device(&stream, &x, rows, |x| {
            stream.rotate(&x, heads, head_dim, &cos, &sin).unwrap();
            x
        });
        for (i, (out, expected)) in out.iter().zip(&expected).enumerate() {
            // The CPU may round once where this rounds twice.
            assert!(
                (out - expected).abs() < 1e-6,
                "element {i}: {out}, not {expected}"
            );
        }
    }
}

#[test]
fn gates_agree_with_the_cpu_and_saturate() {
    let Some(stream) = common::stream() else {
        return;
    };
    let (rows, size) = (3, 5001);
    let x = wide(rows * 2 * size, 7, 25.0);
    let extremes = [0.0, -0.0, 3e38, -3e38, 1.0, 1.0, 1.0, 1.0];
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let mut expected = vec![0.0; rows * size];
        let relative = match activation {
            Activation::Silu => {
                swiglu(&cpu(), &x, size, &mut expected);
                1e-6
            }
            Activation::GeluTanh => {
                geglu_tanh(&cpu(), &x, size, &mut expected);
                // The argument of exp reaches 100, and its relative error counts that often.
                4e-5
            }
        };
        let out = on_device(&stream, &x, rows, |x| {
            stream.gate(&x, size, activation).unwrap()
        });
        let actual: Vec<f32> = out
            .iter()
            .map(|x| if x.abs() < 1e-35 { 0.0 } else { *x })
            .collect();
        let expected: Vec<f32> = (expected.iter())
            .map(|x| if x.abs() < 1e-35 { 0.0 } else { *x })
            .collect();
        assert_close(&actual, &expected, relative, &format!("{activation:?}"));
        let out = on_device(&stream, &extremes, 1, |x| {
            stream.gate(&x, 4, activation).unwrap()
        });
        assert_eq!(out, [0.0, 0.0, 3e38, 0.0], "{activation:?}");
    }
}

#[test]
fn elements_and_rows_are_scaled() {
    let Some(stream) = common::stream() else {
        return;
    };
    let (rows, columns) = (7, 333);
    let x = values(rows * columns, 8);
    let out = on_device(&stream, &x, rows, |x| {
        stream.scale(&x, 0.3).unwrap();
        x
    });
    let expected: Vec<f32> = x.iter().map(|x| x * 0.3).collect();
    assert_same_bits(&out, &expected, "scaled");

    let factors = values(rows, 9);
    let uploaded = stream.upload(&factors, rows, 1).unwrap();
    let out = on_device(&stream, &x, rows, |x| {
        stream.scale_rows(&x, 100, &uploaded).unwrap();
        x
    });
    let factor = |i: usize| {
        if i % columns < 100 {
            factors[i / columns]
        } else {
            1.0
        }
    };
    let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * factor(i)).collect();
    assert_same_bits(&out, &expected, "scaled rows");
}

#[test]
fn rows_are_chosen_and_added_back() {
    let Some(stream) = common::stream() else {
        return;
    };
    let (rows, columns) = (6, 301);
    let (x, added) = (values(rows * columns, 10), values(3 * columns, 11));
    let numbers = [5, 0, 3];
    let indices = stream.indices(&numbers).unwrap();
    let chosen = on_device(&stream, &x, rows, |x| {
        stream.select_rows(&x, &indices, 2).unwrap()
    });
    let expected: Vec<f32> = [5, 0]
        .iter()
        .flat_map(|&row| x[row * columns..][..columns].to_vec())
        .collect();
    assert_same_bits(&chosen, &expected, "chosen rows");

    let weights = values(3, 12);
    let uploaded = stream.upload(&weights, 3, 1).unwrap();
    let out = stream.upload(&added, 3, columns).unwrap();
    let y = on_device(&stream, &x, rows, |y| {
        stream
            .add_weighted_rows(&y, &out, &indices, &uploaded)
            .unwrap();
        y
    });
    let mut expected = x;
    for (i, &row) in numbers.iter().enumerate() {
        for column in 0..columns {
            expected[row as usize * columns + column] += added[i * columns + column] * weights[i];
        }
    }
    assert_same_bits(&y, &expected, "weighted rows");

    // Memory that held something else.
    drop(out);
    let zeros = stream.zeros(3, columns).unwrap();
    assert_eq!(stream.read(&zeros).unwrap(), vec![0.0; 3 * columns]);
}

#[test]
fn tensors_without_rows_are_no_work() {
    let Some(stream) = common::stream() else {
        return;
    };
    let x = stream.upload(&[], 0, 64).unwrap();
    let weight = stream.vector(&[1.0; 64]).unwrap();
    let before = stream.counts().dispatches;
    let normed = stream.rms_norm(&x, &weight, 1e-5).unwrap();
    stream.add(&x, &normed).unwrap();
    stream.scale(&x, 2.0).unwrap();
    stream.norm_heads(&x, 0, 1, &weight, 1e-5).unwrap();
    let gated = stream.gate(&x, 32, Activation::Silu).unwrap();
    assert_eq!((gated.rows(), gated.columns()), (0, 32));
    let none = stream.indices(&[]).unwrap();
    assert_eq!(stream.select_rows(&x, &none, 0).unwrap().rows(), 0);
    assert_eq!(stream.counts().dispatches, before);
}

#[test]
fn experts_are_chosen_in_the_order_of_logits_and_summed_in_that_of_numbers() {
    let Some(stream) = common::stream() else {
        return;
    };
    let (tokens, experts, columns) = (70, 16, 37);
    let mut logits = wide(tokens * experts, 13, 8.0);
    // Equal ones: the first are chosen.
    logits[..experts].fill(1.0);
    for chosen in [1, 2, 5, 16] {
        let uploaded = stream.upload(&logits, tokens, experts).unwrap();
        let (ids, shares) = stream.route(&uploaded, chosen).unwrap();
        assert_eq!(ids.len(), tokens * chosen);
        let out = values(tokens * chosen * columns, 14);
        let uploaded = stream.upload(&out, tokens * chosen, columns).unwrap();
        let y = stream.sum_chosen(&uploaded, &shares).unwrap();
        // Numbers are read through the rows that they choose.
        let numbers: Vec<f32> = (0..experts).map(|n| n as f32).collect();
        let numbers = stream.upload(&numbers, experts, 1).unwrap();
        let ids = stream.select_rows(&numbers, &ids, tokens * chosen).unwrap();
        let ids = stream.read(&ids).unwrap();
        let shares = stream.read(&shares).unwrap();
        let y = stream.read(&y).unwrap();
        for token in 0..tokens {
            let logits = &logits[token * experts..][..experts];
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            order.truncate(chosen);
            order.sort();
            let own = token * chosen..(token + 1) * chosen;
            let expected: Vec<f32> = order.iter().map(|&id| id as f32).collect();
            assert_eq!(ids[own.clone()], expected, "token {token}");
            let exps: Vec<f32> = order.iter().map(|&id| logits[id].exp()).collect();
            let sum: f32 = exps.iter().sum();
            let expected: Vec<f32> = exps.iter().map(|exp| exp / sum).collect();
            assert_close(&shares[own.clone()], &expected, 3e-6, "shares");
            for column in 0..columns {
                let terms = own.clone().map(|j| out[j * columns + column] * shares[j]);
                let sum = terms.fold(0.0, |sum, term| sum + term);
                assert_eq!(y[token * columns + column], sum);
            }
        }
    }
}
