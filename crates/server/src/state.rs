//! What all requests share: the engine, the text side of the model, limits, and the phase of the
//! server's life.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use matou_chat::{ChatTemplate, Tokenizer};
use matou_engine::{EngineHandle, GenerationRequest, SamplingParams, SubmitError};
use matou_grammar::{Compiler, GrammarError};
use tokio::sync::{Semaphore, watch};
use tracing::Span;

use crate::access::Access;
use crate::dialects::responses::ResponseStore;
use crate::error::ApiError;
use crate::generation::{EventStream, GenerationEvent, TextGeneration};
use crate::request::GenerationOptions;
use crate::sse::KEEP_ALIVE_INTERVAL;

/// The state as handlers get it.
pub type SharedState = Arc<AppState>;

/// What a server serves.
pub struct AppState {
    /// The engine that computes.
    pub engine: EngineHandle,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// How a conversation becomes a prompt; models without one only complete text.
    pub template: Option<Arc<ChatTemplate>>,
    /// What clients are told about the model.
    pub model: ModelCard,
    /// Bounds on what a client may ask of the server itself.
    pub limits: Limits,
    /// Who may use the server.
    pub access: Access,
    /// Where "now" comes from; a test can fix it.
    pub clock: fn() -> SystemTime,
    /// Compiles and keeps grammars; made for the first request that needs one, as it takes a while
    /// for a large vocabulary.
    pub(crate) grammars: OnceLock<Result<Compiler, GrammarError>>,
    /// Responses that others may follow.
    pub(crate) responses: ResponseStore,
    admission: Arc<Semaphore>,
    compute: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

/// What clients are told about the model.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// The names it is served under; answers carry the first.
    pub names: Vec<String>,
    /// Unix time at which it was loaded, in seconds.
    pub created: u64,
    /// Changes when the model or the build changes, and with it what a seed gives.
    pub fingerprint: String,
    /// What requests get that do not say how to sample.
    pub default_sampling: SamplingParams,
    /// The tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

/// Bounds on what a client may ask of the server itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a connection may take to send the head of its next request.
    pub header_timeout: Duration,
    /// How long the body of a request may be silent.
    pub body_timeout: Duration,
    /// How long a stream may be silent before a comment is sent; also how long an answer may take
    /// to begin before the status is sent.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            keep_alive: KEEP_ALIVE_INTERVAL,
        }
    }
}

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Requests are accepted.
    Serving,
    /// No new connections; what runs may finish.
    Draining,
    /// What still runs is ended with an error.
    Cut,
}

impl AppState {
    /// A server of `model` with the usual limits.
    pub fn new(
        engine: EngineHandle,
        tokenizer: Arc<Tokenizer>,
        template: Option<Arc<ChatTemplate>>,
        model: ModelCard,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let waiting = engine.config().max_queue_len;
        Self {
            engine,
            tokenizer,
            template,
            model,
            limits: Limits::default(),
            access: Access::default(),
            clock: SystemTime::now,
            grammars: OnceLock::new(),
            responses: ResponseStore::default(),
            admission: Arc::new(Semaphore::new(cores + waiting)),
            compute: Arc::new(Semaphore::new(cores)),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Unix time, in seconds.
    pub fn now(&self) -> u64 {
        (self.clock)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// Checks that `model` is served here. A request that names none gets what there is.
    ///
    /// # Errors
    ///
    /// 404, naming what is served.
    pub fn check_model(&self, model: Option<&str>) -> Result<(), ApiError> {
        match model {
            Some(name)
                if !name.is_empty() && !self.model.names.iter().any(|served| served == name) =>
            {
                Err(ApiError::model_not_found(name, &self.model.names))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` off the async workers, as many at a time as there are cores. Parsing, templates
    /// and tokenising go through here: a long prompt must not hold up the streams of others.
    ///
    /// # Errors
    ///
    /// The error of `work`; 429 when as many requests wait here as the engine's queue would take.
    pub async fn compute<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let never_closed = "the semaphores of the state are never closed";
        let Ok(admitted) = Arc::clone(&self.admission).try_acquire_owned() else {
            let max_queue_len = self.engine.config().max_queue_len;
            return Err(self.refusal(SubmitError::QueueFull { max_queue_len }, ""));
        };
        let core = Arc::clone(&self.compute)
            .acquire_owned()
            .await
            .expect(never_closed);
        let state = Arc::clone(self);
        let span = Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _held_until_done = (admitted, core);
            span.in_scope(|| work(&state))
        });
        task.await.unwrap_or_else(|error| {
            Err(ApiError::internal(format!(
                "A task of the server failed: {error}."
            )))
        })
    }

    /// Hands one prompt to the engine. `prompt_param` is the field the prompt came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub fn submit(
        &self,
        request_id: String,
        prompt_token_ids: Vec<u32>,
        options: &GenerationOptions,
        first_index: usize,
        prompt_param: &str,
    ) -> Result<TextGeneration, ApiError> {
        let params = SamplingParams {
            eos_token_ids: self.model.eos_token_ids.clone(),
            ..options.sampling.clone()
        };
        let request = GenerationRequest {
            request_id,
            prompt_token_ids: prompt_token_ids.clone(),
            params,
            n: options.n,
            priority: options.priority,
        };
        let generation = self
            .engine
            .submit(request)
            .map_err(|error| self.refusal(error, prompt_param))?;
        let tokenizer = Arc::clone(&self.tokenizer);
        Ok(TextGeneration::new(
            generation,
            tokenizer,
            prompt_token_ids,
            options,
            first_index,
        ))
    }

    /// `events`, until they end or the server's shutdown cuts them.
    pub(crate) fn until_cut(&self, events: EventStream) -> EventStream {
        let phase = self.phase();
        stream::unfold(Some((events, phase)), |state| async move {
            let (mut events, mut phase) = state?;
            let cut = async {
                // An error would mean that the state is gone, and with it whoever could cut.
                let _ = phase.wait_for(|phase| *phase == Phase::Cut).await;
            };
            let event = tokio::select! {
                biased;
                () = cut => return Some((GenerationEvent::Failed(ApiError::shutting_down()), None)),
                event = events.next() => event?,
            };
            Some((event, Some((events, phase))))
        })
        .boxed()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// What a client is told when the engine does not accept its request.
    pub(crate) fn refusal(&self, error: SubmitError, prompt_param: &str) -> ApiError {
        let message = sentence(&error.to_string());
        match error {
            SubmitError::QueueFull { .. } => ApiError::overloaded(message, self.retry_after()),
            SubmitError::ContextLengthExceeded { .. } | SubmitError::KvCacheTooSmall { .. } => {
                ApiError::context_length_exceeded(prompt_param, message)
            }
            SubmitError::EmptyPrompt | SubmitError::TokenOutOfRange { .. } => {
                ApiError::invalid(prompt_param, message)
            }
            SubmitError::InvalidParam { param, message } => {
                ApiError::invalid(param, format!("`{param}` {message}."))
            }
            SubmitError::ShuttingDown => ApiError::shutting_down(),
        }
    }

    /// When a place in a full queue is likely to be free: by the time that requests have taken so
    /// far, as many at once as may run.
    fn retry_after(&self) -> Duration {
        let stats = self.engine.stats();
        let finished = stats.e2e_latency.count().max(1) as f64;
        let seconds = stats.e2e_latency.sum / finished / self.engine.config().max_num_seqs as f64;
        Duration::from_secs_f64(seconds.clamp(1.0, 60.0).ceil())
    }
}

/// An error message of a lower layer as a sentence.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}
