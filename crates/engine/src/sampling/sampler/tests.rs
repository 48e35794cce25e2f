//! The stages together: what is drawn, and what is said where nothing can be.

use super::*;
use crate::sampling::params::MirostatParams;
use crate::sampling::testing::{DRAWS, assert_drawn_from, drawn, logits, softmax};

fn seeded() -> SamplingParams {
    SamplingParams {
        seed: Some(42),
        ..SamplingParams::default()
    }
}

#[test]
fn without_stages_tokens_are_drawn_from_the_softmax() {
    let logits = logits(200, 1);
    assert_drawn_from(&softmax(&logits), &drawn(&seeded(), &logits));
}

#[test]
fn temperature_sharpens_what_is_drawn() {
    let logits = logits(200, 2);
    let divided: Vec<f32> = logits.iter().map(|logit| logit / 0.6).collect();
    let params = SamplingParams {
        temperature: 0.6,
        ..seeded()
    };
    assert_drawn_from(&softmax(&divided), &drawn(&params, &logits));
}

#[test]
fn truncated_distributions_are_drawn_renormalised() {
    let logits = logits(200, 3);
    let mut order: Vec<usize> = (0..200).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut kept = vec![f32::NEG_INFINITY; 200];
    order[..25]
        .iter()
        .for_each(|&token| kept[token] = logits[token]);
    let params = SamplingParams {
        top_k: Some(25),
        ..seeded()
    };
    assert_drawn_from(&softmax(&kept), &drawn(&params, &logits));
}

#[test]
fn xtc_strikes_as_often_as_it_should() {
    let logits: Vec<f32> = [0.4f32, 0.3, 0.2, 0.1].iter().map(|p| p.ln()).collect();
    let params = SamplingParams {
        xtc_probability: 0.3,
        xtc_threshold: 0.15,
        ..seeded()
    };
    // Struck: 0 and 1 are gone. Token 2 is kept as the least likely of the top choices.
    let struck = [0.0, 0.0, 2.0 / 3.0, 1.0 / 3.0];
    let expected: Vec<f64> = [0.4, 0.3, 0.2, 0.1]
        .iter()
        .zip(struck)
        .map(|(p, struck)| 0.7 * p + 0.3 * struck)
        .collect();
    assert_drawn_from(&expected, &drawn(&params, &logits));
}

#[test]
fn mirostat_brings_the_mean_surprise_to_its_target() {
    let logits = logits(2000, 5);
    let probabilities = softmax(&logits);
    for tau in [2.0, 4.0, 6.0] {
        let params = SamplingParams {
            mirostat: Some(MirostatParams { tau, eta: 0.05 }),
            ..seeded()
        };
        let counts = drawn(&params, &logits);
        let surprise: f64 = counts
            .iter()
            .zip(&probabilities)
            .map(|(&count, p)| count as f64 * -p.log2())
            .sum();
        let mean = surprise / DRAWS as f64;
        let least = -probabilities.iter().copied().fold(0.0, f64::max).log2();
        let wanted = f64::from(tau).max(least);
        assert!(
            (mean - wanted).abs() < 0.1,
            "mean surprise {mean}, wanted {wanted}"
        );
    }
}

#[test]
fn greedy_takes_the_best_token_after_bias_and_penalties() {
    let mut workspace = Workspace::new(Isa::detect());
    let mut sample = |params: &SamplingParams, tokens: &[u32]| {
        let context = SequenceTokens {
            token_ids: tokens,
            num_prompt_tokens: 1,
        };
        let logits = &mut [1.0, 3.0, 2.0];
        Sampler::new(params, 0)
            .sample(logits, context, &mut workspace)
            .unwrap()
            .token_id
    };
    assert_eq!(sample(&SamplingParams::greedy(), &[0]), 1);
    assert_eq!(
        sample(
            &SamplingParams {
                logit_bias: vec![(0, 5.0)],
                ..SamplingParams::greedy()
            },
            &[0]
        ),
        0
    );
    assert_eq!(
        sample(
            &SamplingParams {
                repetition_penalty: 2.0,
                ..SamplingParams::greedy()
            },
            &[0, 1]
        ),
        2
    );
    assert_eq!(
        sample(
            &SamplingParams {
                banned_token_ids: vec![1],
                ..SamplingParams::greedy()
            },
            &[0]
        ),
        2
    );
}

#[test]
fn no_strength_of_a_penalty_excludes_every_token() {
    let context = SequenceTokens {
        token_ids: &[0, 1, 0, 1, 0],
        num_prompt_tokens: 1,
    };
    let mut strongest = Vec::new();
    for repetition_penalty in [f32::MIN_POSITIVE, f32::MAX] {
        strongest.push(SamplingParams {
            repetition_penalty,
            ..seeded()
        });
    }
    strongest.push(SamplingParams {
        dry_multiplier: f32::MAX,
        dry_base: f32::MAX,
        ..seeded()
    });
    for params in strongest {
        let params = SamplingParams {
            temperature: 1e-4,
            allowed_token_ids: Some(vec![0, 1]),
            ..params
        };
        let sampled = Sampler::new(&params, 0).sample(
            &mut [5.0, -5.0, 9.0],
            context,
            &mut Workspace::new(Isa::detect()),
        );
        let token = sampled.unwrap_or_else(|error| panic!("{error}: {params:?}"));
        assert!(token.token_id < 2);
    }
}

#[test]
fn log_probabilities_are_those_before_all_stages() {
    let raw = logits(100, 6);
    let probabilities = softmax(&raw);
    let params = SamplingParams {
        temperature: 0.3,
        banned_token_ids: vec![5],
        repetition_penalty: 1.5,
        logprobs: Some(3),
        ..seeded()
    };
    let context = SequenceTokens {
        token_ids: &[1, 2, 3],
        num_prompt_tokens: 2,
    };
    let sampled = Sampler::new(&params, 0)
        .sample(
            &mut raw.clone(),
            context,
            &mut Workspace::new(Isa::detect()),
        )
        .unwrap();
    let logprobs = sampled.logprobs.unwrap();
    assert!(
        (f64::from(logprobs.logprob) - probabilities[sampled.token_id as usize].ln()).abs() < 1e-5
    );
    let best = probabilities.iter().copied().fold(0.0, f64::max).ln();
    assert!((f64::from(logprobs.top[0].1) - best).abs() < 1e-5);
    assert_eq!(logprobs.top.len(), 3);
}

#[test]
fn impossible_and_broken_rows_are_errors() {
    for params in [
        SamplingParams::greedy(),
        seeded(),
        SamplingParams {
            top_p: 0.9,
            ..seeded()
        },
    ] {
        for (row, message) in [(f32::NEG_INFINITY, "excluded"), (f32::NAN, "not numbers")] {
            let context = SequenceTokens {
                token_ids: &[0],
                num_prompt_tokens: 1,
            };
            let sampled = Sampler::new(&params, 0).sample(
                &mut [row; 70],
                context,
                &mut Workspace::new(Isa::detect()),
            );
            assert!(sampled.unwrap_err().to_string().contains(message));
        }
    }
}
