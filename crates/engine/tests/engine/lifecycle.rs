//! Requests from submission to their terminal event: ends, cancellation, failure, overload.

use std::time::Duration;

use matou_engine::{
    EngineConfig, EngineEvent, FinishReason, GenerationError, InvalidParam, SamplingParams,
    SubmitError,
};
use matou_testkit::scripted::ScriptedModel;

use crate::common::{GatedModel, TestEngine, answer, request};

fn model() -> ScriptedModel {
    ScriptedModel::new(300)
}

#[test]
fn greedy_answers_are_what_the_model_says_of_the_context() {
    let prompt: Vec<u32> = (10..60).collect();
    let mut context = prompt.clone();
    for _ in 0..40 {
        let logits = model().logits(&context);
        let best = (0..300)
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        context.push(best as u32);
    }
    let engine = TestEngine::start(model(), EngineConfig::default());
    let answers = answer(engine.submit(request(&prompt, 40, SamplingParams::greedy())));
    assert_eq!(answers[0].token_ids, context[50..]);
    assert_eq!(answers[0].reason, Some(FinishReason::Length));
}

#[test]
fn a_stop_token_ends_the_answer_and_is_not_sent() {
    let engine = TestEngine::start(model().with_reply(&[5, 6, 7, 2]), EngineConfig::default());
    let eos = SamplingParams {
        eos_token_ids: vec![2],
        ..SamplingParams::greedy()
    };
    let finished = |params| {
        let answers = answer(engine.submit(request(&[1, 2, 3], 6, params)));
        (
            answers[0].token_ids.clone(),
            answers[0].reason.unwrap(),
            answers[0].stop_token,
        )
    };
    assert_eq!(
        finished(eos.clone()),
        (vec![5, 6, 7], FinishReason::Stop, Some(2))
    );
    let stop = SamplingParams {
        stop_token_ids: vec![6],
        ..eos.clone()
    };
    assert_eq!(finished(stop), (vec![5], FinishReason::Stop, Some(6)));
    let ignored = SamplingParams {
        ignore_eos: true,
        ..eos.clone()
    };
    assert_eq!(
        finished(ignored),
        (vec![5, 6, 7, 2, 5, 6], FinishReason::Length, None)
    );
    let at_least_five = SamplingParams {
        min_tokens: 5,
        ..eos
    };
    let (tokens, _, _) = finished(at_least_five);
    assert!(tokens.len() >= 5 && !tokens.contains(&2), "{tokens:?}");
}

#[test]
fn without_max_tokens_an_answer_ends_where_the_context_does() {
    let config = EngineConfig {
        max_model_len: 50,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start(model(), config);
    let mut open_end = request(&[1; 20], 1, SamplingParams::greedy());
    open_end.params.max_tokens = None;
    let answers = answer(engine.submit(open_end));
    assert_eq!(
        (answers[0].token_ids.len(), answers[0].reason),
        (30, Some(FinishReason::Length))
    );
}

#[test]
fn no_tokens_at_all_can_be_asked_for() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    let params = SamplingParams {
        prompt_logprobs: Some(1),
        ..SamplingParams::greedy()
    };
    let mut generation = engine.submit(request(&[1, 2, 3], 0, params));
    assert!(matches!(
        generation.blocking_next(),
        Some(EngineEvent::Prompt {
            logprobs: Some(_),
            ..
        })
    ));
    let finished = EngineEvent::Finished {
        index: 0,
        reason: FinishReason::Length,
        stop_token: None,
    };
    assert_eq!(generation.blocking_next(), Some(finished));
    assert_eq!(generation.blocking_next(), None);
}

#[test]
fn n_answers_differ_and_share_the_prompt() {
    let model = model();
    let steps = model.steps();
    let engine = TestEngine::start(model, EngineConfig::default());
    let mut four = request(&(0..100).collect::<Vec<_>>(), 20, SamplingParams::default());
    four.n = 4;
    let answers = answer(engine.submit(four));
    assert_eq!(answers.len(), 4);
    assert!(answers.iter().all(|answer| answer.token_ids.len() == 20));
    assert!((1..4).all(|i| answers[i].token_ids != answers[0].token_ids));
    // The siblings find 96 of the prompt's 100 tokens computed.
    let computed: usize = steps
        .lock()
        .unwrap()
        .iter()
        .map(|step| step.num_tokens)
        .sum();
    assert_eq!(computed, 100 + 3 * 4 + 4 * 19);
}

#[test]
fn the_next_turn_of_a_conversation_computes_only_what_is_new() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    let mut history: Vec<u32> = (0..200).collect();
    let first = answer(engine.submit(request(&history, 40, SamplingParams::greedy())));
    assert_eq!(first[0].cached_tokens, 0);
    history.extend(&first[0].token_ids);
    history.extend([7, 8, 9]);
    let second = answer(engine.submit(request(&history, 1, SamplingParams::greedy())));
    // 239 tokens of the first turn were computed (the last was only sampled): 14 whole blocks.
    assert_eq!(second[0].cached_tokens, 224);
    assert_eq!(engine.handle().stats().cached_tokens, 224);
}

#[test]
fn dropping_a_generation_stops_the_work_within_a_step() {
    let model = model().with_latency(Duration::from_millis(2), Duration::ZERO);
    let steps = model.steps();
    let engine = TestEngine::start(model, EngineConfig::default());
    let mut generation = engine.submit(request(&[1; 40], 2000, SamplingParams::greedy()));
    for _ in 0..3 {
        generation.blocking_next();
    }
    drop(generation);
    let steps_at_drop = steps.lock().unwrap().len();
    engine.wait_until_idle();
    // The step that ran at the time, and one that may have begun right then.
    assert!(steps.lock().unwrap().len() <= steps_at_drop + 2);
    assert_eq!(
        engine.handle().stats().finished[FinishReason::Aborted as usize],
        1
    );
}

#[test]
fn a_stopped_answer_ends_within_a_step_and_its_siblings_go_on() {
    let (model, steps) = GatedModel::new(model(), 100);
    let engine = TestEngine::start_boxed(Box::new(model), EngineConfig::default());
    steps.send(()).unwrap();
    let mut two = request(&[1; 40], 60, SamplingParams::default());
    two.n = 2;
    let mut generation = engine.submit(two);
    let mut lens = [0; 2];
    let mut reasons = [None; 2];
    while let Some(event) = generation.blocking_next() {
        match event {
            EngineEvent::Token { index, .. } => {
                lens[index] += 1;
                if lens[1] == 3 {
                    generation.stop(1);
                }
                // The engine is never more than a step ahead of what is seen here.
                if index == 0 {
                    steps.send(()).unwrap();
                }
            }
            EngineEvent::Finished { index, reason, .. } => reasons[index] = Some(reason),
            EngineEvent::Prompt { .. } | EngineEvent::Embedding { .. } => {}
            EngineEvent::Failed { error } => panic!("{error}"),
        }
    }
    assert_eq!(
        reasons,
        [Some(FinishReason::Length), Some(FinishReason::Stop)]
    );
    assert_eq!(lens[0], 60);
    assert!(lens[1] <= 5, "{} tokens after three were enough", lens[1]);
    engine.wait_until_idle();
    assert_eq!(engine.handle().stats().finished, [1, 1, 0]);
}

#[test]
fn an_answer_stopped_by_a_client_that_then_leaves_counts_as_stopped() {
    let model = model().with_latency(Duration::from_millis(2), Duration::ZERO);
    let engine = TestEngine::start(model, EngineConfig::default());
    for _ in 0..20 {
        let mut generation = engine.submit(request(&[1; 40], 2000, SamplingParams::greedy()));
        generation.blocking_next();
        generation.stop(0);
        drop(generation);
    }
    engine.wait_until_idle();
    assert_eq!(engine.handle().stats().finished, [20, 0, 0]);
}

#[test]
fn dropping_a_generation_stops_a_prompt_halfway() {
    let model = model();
    let steps = model.steps();
    let (model, gate) = GatedModel::new(model, 0);
    let config = EngineConfig {
        max_num_batched_tokens: 64,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start_boxed(Box::new(model), config);
    let generation = engine.submit(request(&[1; 3000], 5, SamplingParams::greedy()));
    for _ in 0..3 {
        gate.send(()).unwrap();
    }
    // The third has begun, and one more may have, which waits at the gate.
    drop(generation);
    drop(gate);
    engine.wait_until_idle();
    let computed: usize = steps
        .lock()
        .unwrap()
        .iter()
        .map(|step| step.num_tokens)
        .sum();
    assert!(
        computed <= 4 * 64,
        "{computed} of 3000 tokens were computed"
    );
}

#[test]
fn a_failed_step_ends_its_requests_and_no_others() {
    for model in [model().failing_at(3), model().panicking_at(3)] {
        let engine = TestEngine::start(model, EngineConfig::default());
        let mut unlucky = engine.submit(request(&[1, 2, 3], 100, SamplingParams::greedy()));
        let mut events = Vec::new();
        while let Some(event) = unlucky.blocking_next() {
            events.push(event);
        }
        assert_eq!(events.len(), 1 + 3 + 1, "{events:?}");
        let Some(EngineEvent::Failed {
            error: GenerationError::Forward(message),
        }) = events.last()
        else {
            panic!("{events:?}");
        };
        assert!(message.contains("scripted to"), "{message}");
        let answers = answer(engine.submit(request(&[1, 2, 3], 10, SamplingParams::greedy())));
        assert_eq!(answers[0].token_ids.len(), 10);
        assert_eq!(engine.handle().stats().failed, 1);
    }
}

#[test]
fn a_request_that_excludes_every_token_is_told_by_which_fields() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    let impossible = SamplingParams {
        allowed_token_ids: Some(vec![4]),
        banned_token_ids: vec![4],
        ..SamplingParams::default()
    };
    let mut generation = engine.submit(request(&[1], 5, impossible));
    assert!(matches!(
        generation.blocking_next(),
        Some(EngineEvent::Prompt { .. })
    ));
    let Some(EngineEvent::Failed {
        error: GenerationError::Contradiction(InvalidParam { param, message }),
    }) = generation.blocking_next()
    else {
        panic!("the request contradicts itself")
    };
    assert_eq!(param, "allowed_token_ids");
    let expected = "excludes, with `banned_token_ids`, every token after 0 tokens of the answer";
    assert_eq!(message, expected);
    assert_eq!(generation.blocking_next(), None);
}

#[test]
fn a_full_queue_refuses_the_surplus_and_serves_the_rest() {
    let config = EngineConfig {
        max_queue_len: 64,
        max_num_seqs: 8,
        ..EngineConfig::default()
    };
    let (model, gate) = GatedModel::new(model(), 0);
    let engine = TestEngine::start_boxed(Box::new(model), config);
    let results: Vec<_> = (0..500)
        .map(|i| {
            engine
                .handle()
                .submit(request(&[i % 300; 30], 5, SamplingParams::greedy()))
        })
        .collect();
    drop(gate);
    let refused = results.iter().filter(|result| result.is_err()).count();
    assert!((1..=500 - 64).contains(&refused), "{refused} refused");
    for result in results {
        match result {
            Ok(generation) => assert_eq!(answer(generation)[0].token_ids.len(), 5),
            Err(error) => assert_eq!(error, SubmitError::QueueFull { max_queue_len: 64 }),
        }
    }
    let afterwards = answer(engine.submit(request(&[1], 5, SamplingParams::greedy())));
    assert_eq!(afterwards[0].token_ids.len(), 5);
}

#[test]
fn what_can_never_run_is_refused_with_the_numbers() {
    let config = EngineConfig {
        max_model_len: 1000,
        num_kv_blocks: 10,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start(model(), config);
    let refusal = |prompt: &[u32], max_tokens, change: &dyn Fn(&mut SamplingParams)| {
        let mut request = request(prompt, max_tokens, SamplingParams::default());
        change(&mut request.params);
        engine.handle().submit(request).unwrap_err()
    };
    let unchanged = |_: &mut SamplingParams| {};
    assert_eq!(refusal(&[], 5, &unchanged), SubmitError::EmptyPrompt);
    assert_eq!(
        refusal(&[1, 300], 5, &unchanged),
        SubmitError::TokenOutOfRange {
            token: 300,
            vocab_size: 300
        }
    );
    assert_eq!(
        refusal(&[1; 1000], 1, &unchanged).to_string(),
        "the maximum context length is 1000 tokens, but the prompt has 1000 and at least 1 must be generated"
    );
    assert_eq!(
        refusal(&[1; 160], 1, &unchanged),
        SubmitError::KvCacheTooSmall {
            needed_blocks: 11,
            total_blocks: 10
        }
    );
    let param = |change: &dyn Fn(&mut SamplingParams)| match refusal(&[1], 5, change) {
        SubmitError::InvalidParam { param, .. } => param,
        other => panic!("{other}"),
    };
    assert_eq!(param(&|params| params.top_p = 2.0), "top_p");
    assert_eq!(param(&|params| params.logprobs = Some(21)), "logprobs");
    assert_eq!(
        param(&|params| params.prompt_logprobs = Some(21)),
        "prompt_logprobs"
    );
    let mut none = request(&[1], 5, SamplingParams::default());
    none.n = 0;
    assert!(matches!(
        engine.handle().submit(none),
        Err(SubmitError::InvalidParam { param: "n", .. })
    ));
}

#[test]
fn shutting_down_finishes_what_was_accepted() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    let generation = engine.submit(request(&[1; 10], 200, SamplingParams::greedy()));
    engine.handle().shutdown();
    let refused = engine
        .handle()
        .submit(request(&[1], 5, SamplingParams::greedy()));
    assert_eq!(refused.unwrap_err(), SubmitError::ShuttingDown);
    assert_eq!(answer(generation)[0].token_ids.len(), 200);
    engine.join();
}

#[test]
fn the_engine_ends_with_its_last_handle_and_its_last_request() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    let generation = engine.submit(request(&[1; 10], 200, SamplingParams::greedy()));
    engine.join();
    assert_eq!(answer(generation)[0].token_ids.len(), 200);
}

#[test]
fn times_and_tokens_are_counted() {
    let engine = TestEngine::start(model(), EngineConfig::default());
    for _ in 0..3 {
        answer(engine.submit(request(&[1; 10], 20, SamplingParams::greedy())));
    }
    engine.wait_until_idle();
    let stats = engine.handle().stats();
    assert_eq!((stats.prompt_tokens, stats.generation_tokens), (30, 60));
    assert_eq!(stats.finished, [0, 3, 0]);
    assert_eq!(
        (
            stats.queue_time.count(),
            stats.time_to_first_token.count(),
            stats.e2e_latency.count()
        ),
        (3, 3, 3)
    );
    assert_eq!(stats.inter_token_latency.count(), 57);
    let (prefill, decode, whole) = (
        &stats.prefill_time,
        &stats.decode_time,
        &stats.inference_time,
    );
    assert_eq!((prefill.count(), decode.count(), whole.count()), (3, 3, 3));
    assert!((prefill.sum + decode.sum - whole.sum).abs() < 1e-6);
    assert_eq!(stats.request_prompt_tokens.sum, 30.0);
    assert_eq!(stats.request_generation_tokens.sum, 60.0);
    assert_eq!(stats.request_max_tokens.sum, 60.0);
    assert_eq!(stats.request_n.sum, 3.0);
    assert_eq!((stats.steps, stats.batch_size.count()), (60, 60));
}

#[tokio::test]
async fn events_can_be_awaited() {
    let engine = TestEngine::start(model().with_reply(&[5, 6, 2]), EngineConfig::default());
    let eos = SamplingParams {
        eos_token_ids: vec![2],
        ..SamplingParams::greedy()
    };
    let mut generation = engine.submit(request(&[1], 9, eos));
    let mut tokens = Vec::new();
    while let Some(event) = generation.next().await {
        if let EngineEvent::Token { token_id, .. } = event {
            tokens.push(token_id);
        }
    }
    assert_eq!(tokens, [5, 6]);
    assert_eq!(generation.next().await, None);
}
