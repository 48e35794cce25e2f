//! What a failure, or a client that behaves badly, takes with it: as little as can be.

use std::sync::Arc;
use std::time::Duration;

use matou_engine::{
    ConstraintFactory, Engine, EngineConfig, EngineEvent, GenerationError, GenerationRequest,
    MAX_SEQUENCES, OutputConstraint, SamplingParams, SubmitError, TokenConstraint,
};
use matou_model::{ForwardBatch, KvCacheDtype, LanguageModel, Logits, ModelError, ModelInfo};
use matou_testkit::scripted::ScriptedModel;

use crate::common::{GatedModel, TestEngine, answer, request};

const VOCAB_SIZE: usize = 300;

/// Grammars that panic at their second token.
struct Panicking;

impl ConstraintFactory for Panicking {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(PanickingAt(0))
    }
}

struct PanickingAt(usize);

impl TokenConstraint for PanickingAt {
    fn mask(&mut self) -> Result<&[u32], String> {
        Err("it is not asked".to_owned())
    }

    fn try_accept(&mut self, _: u32) -> Result<bool, String> {
        self.0 += 1;
        assert!(self.0 < 2, "scripted to panic");
        Ok(true)
    }

    fn must_stop(&self) -> bool {
        false
    }
}

#[test]
fn a_panic_while_sampling_ends_one_request_and_leaves_the_others_as_they_were() {
    let quiet = request(
        &[5, 6, 7],
        12,
        SamplingParams {
            seed: Some(4),
            ..SamplingParams::default()
        },
    );
    let alone = {
        let engine = TestEngine::start(ScriptedModel::new(VOCAB_SIZE), EngineConfig::default());
        answer(engine.submit(quiet.clone()))
    };
    let (model, steps) = GatedModel::new(ScriptedModel::new(VOCAB_SIZE), 0);
    let engine = TestEngine::start_boxed(Box::new(model), EngineConfig::default());
    let params = SamplingParams {
        constraint: Some(OutputConstraint::new(Arc::new(Panicking))),
        ..SamplingParams::greedy()
    };
    let mut failing = engine.submit(request(&[1, 2], 12, params));
    let others = [engine.submit(quiet.clone()), engine.submit(quiet)];
    drop(steps);
    let error = std::iter::from_fn(|| failing.blocking_next()).find_map(|event| match event {
        EngineEvent::Failed { error } => Some(error),
        _ => None,
    });
    assert!(
        matches!(error, Some(GenerationError::Panicked(_))),
        "{error:?}"
    );
    for other in others {
        assert_eq!(answer(other), alone);
    }
    engine.wait_until_idle();
    engine.join();
}

/// A model that fails in a way that nothing can catch: with what panics again when it is dropped.
struct Fatal(ModelInfo);

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("scripted to end the thread");
    }
}

impl LanguageModel for Fatal {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn kv_block_bytes(&self, _: KvCacheDtype) -> usize {
        0
    }

    fn allocate_kv_cache(&mut self, _: usize, _: KvCacheDtype) -> Result<(), ModelError> {
        Ok(())
    }

    fn forward(&mut self, _: &ForwardBatch) -> Result<Logits, ModelError> {
        std::panic::panic_any(PanicsAgain)
    }
}

#[tokio::test]
async fn the_end_of_the_thread_is_told() {
    let info = ModelInfo {
        vocab_size: VOCAB_SIZE,
        ..ModelInfo::default()
    };
    let model = Box::new(Fatal(info));
    let (handle, thread) = Engine::start(model, EngineConfig::default()).unwrap();
    assert!(!handle.has_ended());
    let mut generation = handle
        .submit(request(&[1], 5, SamplingParams::greedy()))
        .unwrap();
    let event = generation.next().await;
    let error = GenerationError::EngineStopped;
    assert_eq!(event, Some(EngineEvent::Failed { error }));
    handle.ended().await;
    assert!(handle.has_ended());
    let refused = handle.submit(request(&[1], 5, SamplingParams::greedy()));
    assert_eq!(refused.err(), Some(SubmitError::EngineStopped));
    assert!(thread.join().is_err());
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let config = EngineConfig {
        max_model_len: 20_000,
        num_kv_blocks: 2000,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start(ScriptedModel::new(16).with_sliding_window(4), config);
    let mut unread = engine.submit(request(&[1], 15_000, SamplingParams::greedy()));
    while engine.handle().stats().failed == 0 {
        let written = engine.handle().stats().generation_tokens;
        assert!(written < 15_000, "it has written all of it");
        std::thread::sleep(Duration::from_millis(1));
    }
    engine.wait_until_idle();
    let events: Vec<_> = std::iter::from_fn(|| unread.blocking_next()).collect();
    assert!(events.len() < 10_000, "{} events", events.len());
    let last = events.last();
    assert!(
        matches!(
            last,
            Some(EngineEvent::Failed {
                error: GenerationError::Unread(_)
            })
        ),
        "{last:?}"
    );
    assert_eq!(engine.handle().stats().failed, 1);
    engine.join();
}

#[test]
fn several_prompts_are_one_request_of_bounded_size() {
    let engine = TestEngine::start(ScriptedModel::new(VOCAB_SIZE), EngineConfig::default());
    let many = |prompts: usize, n: usize| {
        let one = GenerationRequest {
            n,
            ..request(&[1, 2], 2, SamplingParams::greedy())
        };
        engine.handle().submit_all(vec![one; prompts])
    };
    let refused = many(128, 128).err();
    let (wanted, max) = (128 * 128, MAX_SEQUENCES);
    assert_eq!(refused, Some(SubmitError::TooManySequences { wanted, max }));
    let generations = many(16, 128).unwrap();
    assert_eq!(generations.len(), 16);
    for generation in generations {
        assert_eq!(answer(generation).len(), 128);
    }
    engine.join();
}

/// A model whose device goes at its third step.
struct Losing {
    model: ScriptedModel,
    steps: usize,
}

impl LanguageModel for Losing {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        self.model.kv_block_bytes(dtype)
    }

    fn allocate_kv_cache(
        &mut self,
        num_blocks: usize,
        dtype: KvCacheDtype,
    ) -> Result<(), ModelError> {
        self.model.allocate_kv_cache(num_blocks, dtype)
    }

    fn is_lost(&self) -> bool {
        self.steps >= 3
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        self.steps += 1;
        match self.is_lost() {
            true => Err(ModelError::Forward("the card has gone".to_owned())),
            false => self.model.forward(batch),
        }
    }
}

#[test]
fn when_the_device_goes_every_request_is_told_and_the_engine_ends() {
    let model = Losing {
        model: ScriptedModel::new(VOCAB_SIZE),
        steps: 0,
    };
    let config = EngineConfig {
        // The second waits for the first.
        max_num_seqs: 1,
        ..EngineConfig::default()
    };
    let engine = TestEngine::start_boxed(Box::new(model), config);
    let generations = [1, 2].map(|token| {
        let params = SamplingParams {
            ignore_eos: true,
            ..SamplingParams::greedy()
        };
        engine.submit(request(&[token], 12, params))
    });
    let [first, second] = generations.map(|mut generation| {
        std::iter::from_fn(|| generation.blocking_next())
            .filter_map(|event| match event {
                EngineEvent::Failed { error } => Some(error),
                _ => None,
            })
            .collect::<Vec<_>>()
    });
    let [GenerationError::Forward(message)] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert!(message.contains("the card has gone"), "{message}");
    assert!(
        matches!(second.as_slice(), [GenerationError::EngineStopped]),
        "{second:?}"
    );
    assert!(engine.handle().has_ended());
}
