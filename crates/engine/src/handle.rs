//! The async side of an engine: admission, and the stream of a request's events.
//!
//! ```text
//!  EngineHandle ──EngineCommand──► engine thread ──EngineEvent──► Generation
//!   (cloneable)    unbounded channel, but              one unbounded channel a request: the
//!                  a sequence needs one of             thread never waits for a client, and
//!                  max_queue_len tickets               gives up one that reads nothing
//! ```
//!
//! Only requests that can be computed get through: what is wrong with one is found here, on the
//! caller's thread. Dropping a [`Generation`] closes its channel, and [`Generation::stop`] sets a
//! flag: the engine sees both before its next step. Dropping the last [`EngineHandle`] closes the other, and the engine ends when its
//! requests have.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use matou_model::{AdapterTargets, ModelInfo};
use thiserror::Error;
use tokio::sync::watch;

use crate::config::EngineConfig;
use crate::error::InvalidParam;
use crate::generation::Generation;
use crate::kv_cache_manager::blocks_needed;
use crate::queue::{Queue, Queued};
use crate::request::{ClientId, GenerationRequest};
use crate::sampling::SamplingPlan;
use crate::stats::EngineStats;
use crate::submission::{self, EngineCommand, StopFlags, Submission};

/// Most answers to one prompt.
pub const MAX_N: usize = 128;
/// Most answers to all prompts of a request: as many as OpenAI allows prompts.
pub const MAX_SEQUENCES: usize = 2048;
/// Most log-probabilities of a prompt's tokens that are kept until all of it is read: some 20 MB.
const MAX_PROMPT_LOGPROBS: usize = 1 << 18;

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// Too many requests are waiting; try again later.
    #[error("the queue is full: {max_queue_len} answers are waiting already; try again later")]
    QueueFull {
        /// The limit, see [`EngineConfig::max_queue_len`].
        max_queue_len: usize,
    },
    /// The request asks for too many answers.
    #[error("the request asks for {wanted} answers in all; at most {max} are given")]
    TooManySequences {
        /// Answers to all of its prompts.
        wanted: usize,
        /// The limit, [`MAX_SEQUENCES`].
        max: usize,
    },
    /// The prompt leaves no room in the context for what has to be generated.
    #[error(
        "the maximum context length is {max_model_len} tokens, but the prompt has {prompt_tokens} \
         and at least {min_tokens} must be generated"
    )]
    ContextLengthExceeded {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens that must be generated, one at least. How many may be is no matter: an answer ends
        /// where the context does.
        min_tokens: usize,
        /// The limit, see [`EngineConfig::max_model_len`].
        max_model_len: usize,
    },
    /// The request cannot be held even by an empty cache.
    #[error(
        "the request needs {needed_blocks} KV cache blocks, but there are only {total_blocks}; \
         shorten it, or give the KV cache more memory"
    )]
    KvCacheTooSmall {
        /// Blocks for the prompt and what has to be generated.
        needed_blocks: usize,
        /// Blocks of the whole cache.
        total_blocks: usize,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty: it must have at least one token")]
    EmptyPrompt,
    /// The prompt has a token that the model does not know.
    #[error("token {token} in the prompt is outside of the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// Tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A parameter has a value that makes no sense.
    #[error("{param}: {message}")]
    InvalidParam {
        /// The parameter's name in the API.
        param: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The engine accepts no more requests.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The engine's thread has ended though nobody asked it to.
    #[error("the engine has stopped")]
    EngineStopped,
}

impl From<InvalidParam> for SubmitError {
    fn from(InvalidParam { param, message }: InvalidParam) -> Self {
        Self::InvalidParam { param, message }
    }
}

/// What the handles and the engine thread share.
pub(crate) struct Shared {
    config: EngineConfig,
    model_info: ModelInfo,
    adapter_targets: Option<Arc<AdapterTargets>>,
    queue: Queue,
    accepting: AtomicBool,
    /// Whether the thread has ended.
    ended: watch::Sender<bool>,
    stats: Mutex<EngineStats>,
}

impl Shared {
    pub(crate) fn new(
        config: EngineConfig,
        (model_info, adapter_targets): (ModelInfo, Option<Arc<AdapterTargets>>),
        counted: Option<EngineStats>,
    ) -> Self {
        let stats = EngineStats::new(config.num_kv_blocks);
        let stats = Mutex::new(match counted {
            Some(counted) => stats.counting_on(counted),
            None => stats,
        });
        Self {
            config,
            model_info,
            adapter_targets,
            queue: Queue::default(),
            accepting: AtomicBool::new(true),
            ended: watch::Sender::new(false),
            stats,
        }
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, EngineStats> {
        // A panic while counting leaves a count behind, nothing worse.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Says that the thread has ended, however that came.
    pub(crate) fn end(&self) {
        self.accepting.store(false, Ordering::Relaxed);
        self.ended.send_replace(true);
    }

    fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::Relaxed);
    }
}

/// The way into an engine. Cheap to clone; the engine ends when the last one is dropped and all
/// requests are done.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<EngineCommand>,
}

impl EngineHandle {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::Sender<EngineCommand>) -> Self {
        Self { shared, commands }
    }

    /// Queues a request. Never blocks.
    ///
    /// # Errors
    ///
    /// When the request is wrong in itself or could never fit, when the queue is full, and when the
    /// engine is shutting down or has ended.
    pub fn submit(&self, request: GenerationRequest) -> Result<Generation, SubmitError> {
        let mut generations = self.submit_all(vec![request])?;
        Ok(generations.swap_remove(0))
    }

    /// Queues several prompts of one client as one request: all of them or none. Their answers take turns
    /// with other requests as those of one prompt do.
    ///
    /// # Errors
    ///
    /// As of [`EngineHandle::submit`], for any of them.
    pub fn submit_all(
        &self,
        requests: Vec<GenerationRequest>,
    ) -> Result<Vec<Generation>, SubmitError> {
        requests.iter().try_for_each(|one| self.validate(one))?;
        let wanted = requests.iter().map(|request| request.n).sum();
        if wanted > MAX_SEQUENCES {
            let max = MAX_SEQUENCES;
            return Err(SubmitError::TooManySequences { wanted, max });
        }
        let client = requests
            .first()
            .map_or(ClientId::default(), |one| one.client);
        let Queued {
            mut tickets,
            waiting,
        } = self.enter_queue(client, wanted)?;
        let submitted = Instant::now();
        let mut place = waiting;
        let mut generations = Vec::with_capacity(requests.len());
        let mut submissions = Vec::with_capacity(requests.len());
        for mut request in requests {
            request.params.seed.get_or_insert_with(random_seed);
            let n = request.n;
            let (sender, receiver) = submission::events();
            let stopped = StopFlags::new(n);
            generations.push(Generation::new(receiver, stopped.clone(), n));
            submissions.push(Submission {
                plan: SamplingPlan::new(std::mem::take(&mut request.params)),
                request,
                events: sender,
                stopped,
                tickets: tickets.drain(..n).collect(),
                place,
                submitted,
            });
            place += n;
        }
        self.commands
            .send(EngineCommand::Submit(submissions))
            .map_err(|_| self.gone())?;
        Ok(generations)
    }

    /// Stops accepting requests, on all handles. Those accepted are finished; then the engine ends.
    pub fn shutdown(&self) {
        self.shared.stop_accepting();
        // An engine that is gone already needs no telling.
        let _ = self.commands.send(EngineCommand::Shutdown);
    }

    /// The limits the engine runs under.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// The model that answers.
    pub fn model_info(&self) -> &ModelInfo {
        &self.shared.model_info
    }

    /// What adapters can be loaded for, where the model can have any.
    pub fn adapter_targets(&self) -> Option<&Arc<AdapterTargets>> {
        self.shared.adapter_targets.as_ref()
    }

    /// A snapshot of what the engine has counted and timed.
    pub fn stats(&self) -> EngineStats {
        self.shared.stats().clone()
    }

    /// Whether the engine's thread has ended: nothing is computed any more.
    pub fn has_ended(&self) -> bool {
        *self.shared.ended.borrow()
    }

    /// Resolves when the engine's thread has ended.
    pub async fn ended(&self) {
        // An error would mean that the sender is gone, which this handle holds.
        let _ = self.shared.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Why nothing is accepted any more.
    fn gone(&self) -> SubmitError {
        match self.has_ended() {
            true => SubmitError::EngineStopped,
            false => SubmitError::ShuttingDown,
        }
    }

    fn enter_queue(&self, client: ClientId, sequences: usize) -> Result<Queued, SubmitError> {
        if !self.shared.accepting.load(Ordering::Relaxed) {
            return Err(self.gone());
        }
        let max_queue_len = self.shared.config.max_queue_len;
        let queued = self.shared.queue.enter(client, sequences, max_queue_len);
        queued.ok_or(SubmitError::QueueFull { max_queue_len })
    }

    fn validate(&self, request: &GenerationRequest) -> Result<(), SubmitError> {
        let (config, vocab_size) = (&self.shared.config, self.shared.model_info.vocab_size);
        if request.prompt_token_ids.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        if let Some(&token) = request
            .prompt_token_ids
            .iter()
            .find(|&&token| token as usize >= vocab_size)
        {
            return Err(SubmitError::TokenOutOfRange { token, vocab_size });
        }
        if let Some(adapter) = &request.adapter {
            let refusal = match &self.shared.adapter_targets {
                Some(targets) if targets.fit(adapter) => None,
                Some(_) => Some("names an adapter that was loaded for another model"),
                None => Some(
                    "names an adapter, and adapters are applied on the CPU only: use --device cpu",
                ),
            };
            if let Some(message) = refusal {
                return Err(SubmitError::InvalidParam {
                    param: "model",
                    message: message.to_owned(),
                });
            }
        }
        request.params.validate(vocab_size)?;
        if !(1..=MAX_N).contains(&request.n) {
            let message = format!("must be between 1 and {MAX_N}, not {}", request.n);
            return Err(SubmitError::InvalidParam {
                param: "n",
                message,
            });
        }
        let logprobs = [
            ("logprobs", request.params.logprobs),
            ("prompt_logprobs", request.params.prompt_logprobs),
        ];
        for (param, wanted) in logprobs {
            if wanted.is_some_and(|wanted| wanted > config.max_logprobs) {
                let message = format!("must be at most {}", config.max_logprobs);
                return Err(SubmitError::InvalidParam { param, message });
            }
        }
        let top = request.params.prompt_logprobs;
        let found = top.map_or(0, |top| request.prompt_token_ids.len() * (top + 1));
        if found > MAX_PROMPT_LOGPROBS {
            let message = format!(
                "asks for {found} log-probabilities of the prompt; at most {MAX_PROMPT_LOGPROBS} are given"
            );
            return Err(SubmitError::InvalidParam {
                param: "prompt_logprobs",
                message,
            });
        }
        let min_tokens = match request.params.max_tokens {
            // Only what the prompt itself says is wanted.
            Some(0) => 0,
            _ => request.params.min_tokens.max(1),
        };
        self.validate_length(request.prompt_token_ids.len(), min_tokens)
    }

    fn validate_length(&self, prompt_tokens: usize, min_tokens: usize) -> Result<(), SubmitError> {
        let EngineConfig {
            max_model_len,
            max_num_batched_tokens,
            num_kv_blocks,
            ..
        } = self.shared.config;
        let total = prompt_tokens.saturating_add(min_tokens);
        if total > max_model_len {
            return Err(SubmitError::ContextLengthExceeded {
                prompt_tokens,
                min_tokens,
                max_model_len,
            });
        }
        let window = self.shared.model_info.sliding_window;
        let needed_blocks = blocks_needed(total, window, max_num_batched_tokens);
        if needed_blocks > num_kv_blocks {
            return Err(SubmitError::KvCacheTooSmall {
                needed_blocks,
                total_blocks: num_kv_blocks,
            });
        }
        Ok(())
    }
}

/// A seed for requests that bring none, from the standard library's source of hash keys.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
