//! What a token costs at Llama 3's vocabulary of 128,256, by settings.
//!
//! `cargo bench -p matou-engine --bench sampling`. The budget: 40 µs greedy, 150 µs with the usual
//! chat settings.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use matou_engine::sampling::{Sampler, SamplingParams, SequenceTokens, Workspace};
use matou_kernels::Isa;

const VOCAB_SIZE: usize = 128_256;

/// Logits as a language model's look: most around zero with a deviation of about 2, and a few dozen
/// tokens that make sense far above.
fn logits() -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut logits: Vec<f32> = (0..VOCAB_SIZE)
        .map(|_| (0..4).map(|_| uniform() - 0.5).sum::<f32>() * 3.5)
        .collect();
    for rank in 0..60 {
        logits[(uniform() * VOCAB_SIZE as f32) as usize] = 18.0 - 0.15 * rank as f32;
    }
    logits
}

fn sampling(criterion: &mut Criterion) {
    let logits = logits();
    // A conversation of 2,000 tokens, some 500 different ones.
    let token_ids: Vec<u32> = (0..2000u32).map(|i| i * i % 503 * 250).collect();
    let context = SequenceTokens {
        token_ids: &token_ids,
        num_prompt_tokens: 1500,
    };
    let default = SamplingParams {
        seed: Some(1),
        ..SamplingParams::default()
    };
    let chat = SamplingParams {
        temperature: 0.7,
        top_k: Some(40),
        top_p: 0.9,
        min_p: 0.05,
        repetition_penalty: 1.1,
        ..default.clone()
    };
    let settings = [
        ("greedy", SamplingParams::greedy()),
        (
            "chat: temperature, top-k, top-p, min-p, repetition penalty",
            chat,
        ),
        (
            "temperature",
            SamplingParams {
                temperature: 0.7,
                ..default.clone()
            },
        ),
        (
            "temperature, top-p",
            SamplingParams {
                temperature: 0.7,
                top_p: 0.9,
                ..default.clone()
            },
        ),
        (
            "temperature, min-p",
            SamplingParams {
                temperature: 0.7,
                min_p: 0.05,
                ..default.clone()
            },
        ),
        (
            "dry",
            SamplingParams {
                dry_multiplier: 0.8,
                ..SamplingParams::greedy()
            },
        ),
        (
            "greedy with 20 logprobs",
            SamplingParams {
                logprobs: Some(20),
                ..SamplingParams::greedy()
            },
        ),
    ];
    let mut group = criterion.benchmark_group("sampling");
    for (name, params) in settings {
        let mut sampler = Sampler::new(&params, 0);
        let mut workspace = Workspace::new(Isa::detect());
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || logits.clone(),
                |logits| black_box(sampler.sample(logits, context, &mut workspace)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sampling);
criterion_main!(benches);
