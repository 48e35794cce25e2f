//! The promise: same request, same bytes, whatever happens around it.
//!
//! One mixed load is replayed under every condition that must not matter. The model answers by what
//! it reads through the block tables, so a mistake in any of them changes the tokens.

use std::time::Duration;

use matou_engine::{EngineConfig, GenerationRequest, MirostatParams, SamplingParams};
use matou_kernels::Isa;
use matou_model::{
    Checkpoint, DeviceChoice, KvCacheDtype, LanguageModel, LoadOptions, WeightFiles,
};
use matou_testkit::scripted::ScriptedModel;
use matou_testkit::{fixtures_dir, gpu};

use crate::common::{Answer, TestEngine, answer, request};

pub(crate) const NUM_REQUESTS: usize = 200;

/// Greedy and sampled requests, with all kinds of stages, prompts that share beginnings, and
/// several answers to some.
fn load(vocab_size: u32) -> Vec<GenerationRequest> {
    (0..NUM_REQUESTS)
        .map(|i| mixed_request(i, vocab_size))
        .collect()
}

fn mixed_request(i: usize, vocab_size: u32) -> GenerationRequest {
    let stem = (0..(i % 7) as u32 * 12).map(|token| token + 40);
    let own = (0..1 + (i * 13) as u32 % 60).map(|token| (token * 7 + i as u32) % vocab_size);
    let prompt: Vec<u32> = stem.chain(own).collect();
    let seeded = SamplingParams {
        seed: Some(i as u64 / 2),
        ..SamplingParams::default()
    };
    let params = match i % 8 {
        0 => SamplingParams {
            prompt_embedding: i.is_multiple_of(16),
            ..SamplingParams::greedy()
        },
        1 => seeded,
        2 => SamplingParams {
            temperature: 0.7,
            top_k: Some(40),
            top_p: 0.9,
            min_p: 0.05,
            ..seeded
        },
        3 => SamplingParams {
            repetition_penalty: 1.2,
            frequency_penalty: 0.3,
            top_p: 0.95,
            ..seeded
        },
        4 => SamplingParams {
            mirostat: Some(MirostatParams { tau: 4.0, eta: 0.1 }),
            ..seeded
        },
        5 => SamplingParams {
            dry_multiplier: 0.8,
            xtc_probability: 0.5,
            xtc_threshold: 0.02,
            ..seeded
        },
        6 => SamplingParams {
            typical_p: 0.9,
            dynatemp_range: 0.3,
            prompt_logprobs: Some(2),
            ..seeded
        },
        _ => SamplingParams {
            presence_penalty: 0.5,
            top_n_sigma: Some(2.0),
            min_tokens: 3,
            ..seeded
        },
    };
    let params = SamplingParams {
        logprobs: i.is_multiple_of(3).then_some(5),
        eos_token_ids: vec![2],
        stop_token_ids: vec![77],
        ..params
    };
    let mut request = request(&prompt, 4 + i * 7 % 60, params);
    request.n = if i % 10 == 9 { 3 } else { 1 };
    request.priority = i as i32 % 3 - 1;
    request
}

/// Answers to the load, submitted in the given order, by request.
fn replay(config: EngineConfig, order: impl Iterator<Item = usize>) -> Vec<Vec<Answer>> {
    let model = ScriptedModel::new(300);
    replay_on(Box::new(model), config, order, NUM_REQUESTS)
}

/// Keeps up to `in_flight` requests going at a time.
pub(crate) fn replay_on(
    model: Box<dyn LanguageModel>,
    config: EngineConfig,
    order: impl Iterator<Item = usize>,
    in_flight: usize,
) -> Vec<Vec<Answer>> {
    let load = load(model.info().vocab_size as u32);
    let engine = TestEngine::start_boxed(
        model,
        EngineConfig {
            max_queue_len: 10 * NUM_REQUESTS,
            ..config
        },
    );
    let order: Vec<usize> = order.collect();
    let mut answers = vec![Vec::new(); NUM_REQUESTS];
    for group in order.chunks(in_flight) {
        let generations: Vec<_> = group
            .iter()
            .map(|&i| (i, engine.submit(load[i].clone())))
            .collect();
        for (i, generation) in generations {
            answers[i] = answer(generation);
            // How much was cached depends on the others, and is all that may.
            answers[i][0].cached_tokens = 0;
        }
    }
    engine.wait_until_idle();
    engine.join();
    answers
}

fn alone() -> Vec<Vec<Answer>> {
    let config = EngineConfig {
        enable_prefix_caching: false,
        max_num_seqs: 1,
        ..EngineConfig::default()
    };
    replay_on(
        Box::new(ScriptedModel::new(300)),
        config,
        0..NUM_REQUESTS,
        1,
    )
}

#[test]
fn answers_do_not_depend_on_batch_order_budget_cache_or_preemption() {
    let expected = alone();
    let roomy = EngineConfig::default();
    let forwards = 0..NUM_REQUESTS;
    assert_eq!(
        replay(roomy.clone(), forwards.clone()),
        expected,
        "all at once"
    );
    assert_eq!(
        replay(roomy.clone(), forwards.clone().rev()),
        expected,
        "in reverse"
    );
    let shuffled = forwards.clone().map(|i| i * 73 % NUM_REQUESTS);
    assert_eq!(
        replay(roomy.clone(), shuffled.clone()),
        expected,
        "shuffled"
    );
    let cold = EngineConfig {
        enable_prefix_caching: false,
        ..roomy.clone()
    };
    assert_eq!(
        replay(cold, forwards.clone()),
        expected,
        "without prefix cache"
    );
    let small_steps = EngineConfig {
        max_num_batched_tokens: 16,
        max_num_seqs: 16,
        ..roomy.clone()
    };
    assert_eq!(
        replay(small_steps, shuffled.clone()),
        expected,
        "in small steps"
    );
    let few = replay_on(
        Box::new(ScriptedModel::new(300)),
        roomy.clone(),
        shuffled.clone(),
        5,
    );
    assert_eq!(few, expected, "five at a time");
    let tiny_pool = EngineConfig {
        num_kv_blocks: 14,
        max_num_seqs: 24,
        ..roomy
    };
    assert_eq!(
        replay(tiny_pool.clone(), shuffled.clone()),
        expected,
        "with hardly any blocks"
    );
    let tiny_and_cold = EngineConfig {
        enable_prefix_caching: false,
        ..tiny_pool
    };
    assert_eq!(
        replay(tiny_and_cold, shuffled),
        expected,
        "with hardly any blocks, without cache"
    );
}

#[test]
fn hardly_any_blocks_means_preemption() {
    let config = EngineConfig {
        num_kv_blocks: 14,
        max_num_seqs: 24,
        max_queue_len: 10 * NUM_REQUESTS,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start(ScriptedModel::new(300), config);
    let generations: Vec<_> = load(300)
        .into_iter()
        .map(|request| engine.submit(request))
        .collect();
    generations
        .into_iter()
        .for_each(|generation| drop(answer(generation)));
    assert!(engine.handle().stats().preemptions > 0);
}

#[test]
fn answers_do_not_depend_on_the_speed_of_steps() {
    let slow =
        ScriptedModel::new(300).with_latency(Duration::from_micros(300), Duration::from_micros(10));
    assert_eq!(
        replay_on(
            Box::new(slow),
            EngineConfig::default(),
            0..NUM_REQUESTS,
            NUM_REQUESTS
        ),
        alone()
    );
}

#[test]
fn a_sliding_window_changes_nothing_but_what_is_visible() {
    let model = || Box::new(ScriptedModel::new(300).with_sliding_window(20));
    let one = EngineConfig {
        enable_prefix_caching: false,
        max_num_seqs: 1,
        ..EngineConfig::default()
    };
    let expected = replay_on(model(), one, 0..NUM_REQUESTS, 1);
    assert_ne!(expected, alone());
    assert_eq!(
        replay_on(
            model(),
            EngineConfig::default(),
            0..NUM_REQUESTS,
            NUM_REQUESTS
        ),
        expected
    );
    let tiny_pool = EngineConfig {
        num_kv_blocks: 14,
        max_num_seqs: 16,
        max_num_batched_tokens: 64,
        ..EngineConfig::default()
    };
    assert_eq!(
        replay_on(model(), tiny_pool, 0..NUM_REQUESTS, NUM_REQUESTS),
        expected
    );
}

#[test]
fn an_answer_does_not_depend_on_its_siblings_but_for_its_index() {
    let engine = TestEngine::start(ScriptedModel::new(300), EngineConfig::default());
    let params = SamplingParams {
        seed: Some(3),
        logprobs: Some(2),
        ..SamplingParams::default()
    };
    let mut several = request(&[5; 50], 20, params);
    let alone = answer(engine.submit(several.clone()));
    several.n = 3;
    let answers = answer(engine.submit(several));
    assert_eq!(
        (&answers[0].token_ids, &answers[0].logprobs),
        (&alone[0].token_ids, &alone[0].logprobs)
    );
    assert!(
        answers[1].token_ids != answers[0].token_ids
            && answers[2].token_ids != answers[1].token_ids
    );
}

#[test]
fn prompt_log_probabilities_are_the_models_at_every_position() {
    // A vocabulary so large that a prompt of 60 tokens takes several chunks of logits.
    let model = ScriptedModel::new(1 << 19);
    let prompt: Vec<u32> = (0..60).map(|i| i * 991).collect();
    let expected: Vec<f64> = (1..60)
        .map(|i| {
            let logits = model.logits(&prompt[..i]);
            let log_total = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            f64::from(logits[prompt[i] as usize]) - log_total
        })
        .collect();
    let engine = TestEngine::start(model, EngineConfig::default());
    let params = SamplingParams {
        prompt_logprobs: Some(1),
        ..SamplingParams::greedy()
    };
    let answers = answer(engine.submit(request(&prompt, 1, params)));
    let found = answers[0].prompt_logprobs.as_ref().unwrap();
    assert_eq!((found.len(), &found[0]), (60, &None));
    for (found, expected) in found[1..].iter().zip(expected) {
        let found = found.as_ref().unwrap();
        assert!((f64::from(found.logprob) - expected).abs() < 1e-4);
        assert_eq!(found.top.len(), 1);
    }
    let stats = engine.handle().stats();
    assert!(stats.steps >= 2, "{} steps", stats.steps);
}

#[test]
fn an_embedding_is_the_mean_of_all_hidden_states() {
    let model = ScriptedModel::new(300);
    let prompt: Vec<u32> = (0..100).map(|i| i * 7 % 300).collect();
    let states = (1..=100).map(|i| f64::from(model.hidden_state(&prompt[..i])));
    let mean = (states.sum::<f64>() / 100.0) as f32;
    let config = EngineConfig {
        max_num_batched_tokens: 32,
        max_num_seqs: 4,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start(model, config);
    let params = SamplingParams {
        prompt_embedding: true,
        ..SamplingParams::greedy()
    };
    // The second time the prompt is in the cache, where there are no hidden states.
    for _ in 0..2 {
        let answers = answer(engine.submit(request(&prompt, 3, params.clone())));
        assert_eq!(answers[0].embedding, Some(vec![mean]));
        assert_eq!(
            (answers[0].cached_tokens, answers[0].token_ids.len()),
            (0, 3)
        );
    }
    let plain = answer(engine.submit(request(&prompt, 1, SamplingParams::greedy())));
    assert_eq!(plain[0].embedding, None);
    assert!(plain[0].cached_tokens > 0);
}

#[test]
fn without_a_seed_every_request_draws_its_own() {
    let engine = TestEngine::start(ScriptedModel::new(300), EngineConfig::default());
    let tokens = || {
        answer(engine.submit(request(&[1; 9], 20, SamplingParams::default())))[0]
            .token_ids
            .clone()
    };
    assert_ne!(tokens(), tokens());
}

/// Where a real model with random weights runs.
#[derive(Clone, Copy)]
struct Place {
    device: DeviceChoice,
    isa: Isa,
}

impl Place {
    fn cpu(isa: Isa) -> Self {
        let device = DeviceChoice::Cpu;
        Self { device, isa }
    }

    /// A model in the formats of `file`.
    fn model(self, file: &str, threads: usize) -> Box<dyn LanguageModel> {
        let weights = WeightFiles::Gguf(fixtures_dir().join("gguf").join(file));
        let options = LoadOptions {
            device: self.device,
            threads: Some(threads),
            isa: Some(self.isa),
            ..LoadOptions::default()
        };
        let checkpoint = Checkpoint::open(&weights).expect("the fixture opens");
        checkpoint.load(&options).expect("the fixture loads")
    }
}

/// What of a model's own computation must not matter: the threads that share it, and where the
/// engine cuts batches. On every instruction set, in integer and in float formats.
#[test]
fn a_real_model_answers_alike_on_any_number_of_threads_in_any_batch() {
    let best = Place::cpu(Isa::detect());
    for isa in Isa::available() {
        let place = Place::cpu(isa);
        compare_real_answers(
            "llama-k256-q4_k_m.gguf",
            place,
            KvCacheDtype::F16,
            NUM_REQUESTS,
        );
    }
    compare_real_answers("llama3.2-q8_0.gguf", best, KvCacheDtype::Q8, NUM_REQUESTS);
    compare_real_answers("llama3.2-f32.gguf", best, KvCacheDtype::F32, NUM_REQUESTS);
}

/// The same on a GPU.
#[test]
fn a_gpu_answers_alike_in_any_batch() {
    let Some(device) = gpu() else { return };
    let place = Place {
        device,
        isa: Isa::detect(),
    };
    // As many as a software device takes in some seconds.
    compare_real_answers("llama-k256-q4_k_m.gguf", place, KvCacheDtype::F16, 60);
    compare_real_answers("llama3.2-q8_0.gguf", place, KvCacheDtype::F32, 60);
}

fn compare_real_answers(file: &str, place: Place, kv_cache_dtype: KvCacheDtype, requests: usize) {
    let config = EngineConfig {
        kv_cache_dtype,
        max_model_len: 256,
        ..EngineConfig::default()
    };
    let alone = EngineConfig {
        enable_prefix_caching: false,
        max_num_seqs: 1,
        ..config.clone()
    };
    let tight = EngineConfig {
        num_kv_blocks: 20,
        max_num_seqs: 24,
        max_num_batched_tokens: 40,
        ..config.clone()
    };
    let in_order = 0..requests;
    let shuffled = in_order.clone().map(move |i| i * 73 % requests);
    let on = |threads| place.model(file, threads);
    let name = format!("{file} on {} with {}", place.device, place.isa.name());

    let expected = replay_on(on(1), alone, in_order.clone(), 1);
    let all_at_once = replay_on(on(2), config.clone(), in_order, NUM_REQUESTS);
    assert_eq!(all_at_once, expected, "{name}: two threads, all at once");
    let few = replay_on(on(1), config, shuffled.clone(), 5);
    assert_eq!(few, expected, "{name}: one thread, five at a time");
    let preempted = replay_on(on(3), tight, shuffled, NUM_REQUESTS);
    assert_eq!(preempted, expected, "{name}: three threads, few blocks");
}
