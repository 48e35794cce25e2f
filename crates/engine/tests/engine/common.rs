//! An engine around a scripted model, and answers collected from its events.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use matou_engine::{
    ClientId, Engine, EngineConfig, EngineEvent, EngineHandle, EngineThread, FinishReason,
    Generation, GenerationRequest, SamplingParams, TokenLogprobs,
};
use matou_model::{ForwardBatch, KvCacheDtype, LanguageModel, Logits, ModelError, ModelInfo};
use matou_testkit::scripted::ScriptedModel;

/// A model that takes a step only when it is told to, and runs freely once the other end is gone. What
/// happens while a step runs can so be tested whatever the machine's speed.
pub(crate) struct GatedModel {
    model: ScriptedModel,
    gate: Receiver<()>,
}

impl GatedModel {
    /// Also gives what tells it. That waits while `ahead` steps have been told and not begun: with
    /// none, until the step that is told begins.
    pub(crate) fn new(model: ScriptedModel, ahead: usize) -> (Self, SyncSender<()>) {
        let (steps, gate) = sync_channel(ahead);
        (Self { model, gate }, steps)
    }
}

impl LanguageModel for GatedModel {
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

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        // An error says that the other end is gone.
        let _ = self.gate.recv();
        self.model.forward(batch)
    }
}

/// A running engine.
pub(crate) struct TestEngine {
    handle: EngineHandle,
    thread: EngineThread,
}

impl TestEngine {
    pub(crate) fn start(model: ScriptedModel, config: EngineConfig) -> Self {
        Self::start_boxed(Box::new(model), config)
    }

    pub(crate) fn start_boxed(model: Box<dyn LanguageModel>, config: EngineConfig) -> Self {
        let (handle, thread) = Engine::start(model, config).expect("the engine starts");
        Self { handle, thread }
    }

    pub(crate) fn handle(&self) -> &EngineHandle {
        &self.handle
    }

    pub(crate) fn submit(&self, request: GenerationRequest) -> Generation {
        self.handle
            .submit(request)
            .expect("the request is accepted")
    }

    /// Waits until no request is left, and checks that all blocks have been given back.
    pub(crate) fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stats = self.handle.stats();
            if stats.running + stats.waiting + stats.kv_blocks_used == 0 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the engine does not come to rest: {stats:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Drops the handle and waits for the thread, which checks the KV cache when it comes to rest.
    pub(crate) fn join(self) {
        drop(self.handle);
        self.thread
            .join()
            .expect("the engine thread ends without a panic");
    }
}

/// A request for one answer of at most `max_tokens`.
pub(crate) fn request(
    prompt: &[u32],
    max_tokens: usize,
    params: SamplingParams,
) -> GenerationRequest {
    GenerationRequest {
        request_id: "test".to_owned(),
        prompt_token_ids: prompt.into(),
        client: ClientId::default(),
        params: SamplingParams {
            max_tokens: Some(max_tokens),
            ..params
        },
        n: 1,
        priority: 0,
        cache_salt: None,
        adapter: None,
        num_open_tokens: 0,
    }
}

/// Everything that was said of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) token_ids: Vec<u32>,
    pub(crate) logprobs: Vec<Option<TokenLogprobs>>,
    pub(crate) prompt_logprobs: Option<Vec<Option<TokenLogprobs>>>,
    pub(crate) embedding: Option<Vec<f32>>,
    pub(crate) cached_tokens: usize,
    pub(crate) reason: Option<FinishReason>,
    pub(crate) stop_token: Option<u32>,
}

/// Reads a generation to its end. The order of its events is checked on the way.
pub(crate) fn answer(mut generation: Generation) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    let mut prompt = None;
    let mut embedding = None;
    while let Some(event) = generation.blocking_next() {
        match event {
            EngineEvent::Prompt {
                cached_tokens,
                logprobs,
            } => {
                assert!(
                    prompt.is_none() && answers.is_empty(),
                    "one prompt event comes first"
                );
                prompt = Some((cached_tokens, logprobs));
            }
            EngineEvent::Embedding { embedding: found } => {
                assert!(prompt.is_some(), "the prompt event comes first");
                assert!(embedding.replace(found).is_none(), "there is one embedding");
            }
            EngineEvent::Token {
                index,
                token_id,
                logprobs,
            } => {
                assert!(prompt.is_some(), "the prompt event comes first");
                answers.resize(answers.len().max(index + 1), Answer::default());
                assert_eq!(answers[index].reason, None, "nothing comes after the end");
                answers[index].token_ids.push(token_id);
                answers[index].logprobs.push(logprobs);
            }
            EngineEvent::Finished {
                index,
                reason,
                stop_token,
            } => {
                answers.resize(answers.len().max(index + 1), Answer::default());
                assert_eq!(
                    answers[index].reason.replace(reason),
                    None,
                    "an answer ends once"
                );
                answers[index].stop_token = stop_token;
            }
            EngineEvent::Failed { error } => panic!("the request failed: {error}"),
        }
    }
    assert!(
        answers.iter().all(|answer| answer.reason.is_some()),
        "every answer ends"
    );
    let (cached_tokens, logprobs) = prompt.expect("every answer has a prompt");
    (answers[0].cached_tokens, answers[0].prompt_logprobs) = (cached_tokens, logprobs);
    answers[0].embedding = embedding;
    answers
}
