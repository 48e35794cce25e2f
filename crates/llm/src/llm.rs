//! A model that takes text and gives text: one [`Llm`] is one model that is served, under one name or
//! several. Requests are made ready for it by [`crate::prepare`] and come out of it as
//! [`TextGeneration`]s; [`crate::models`] holds several, and knows which is meant.

use std::sync::Arc;
use std::time::Duration;

use matou_chat::{ChatTemplate, Tokenizer};
use matou_engine::{EngineHandle, GenerationRequest, SamplingParams, SubmitError};

use crate::constraint::Constraints;
use crate::error::LlmError;
use crate::generation::{Answers, TextGeneration};
use crate::isolation::Isolation;
use crate::open::Place;
use crate::request::GenerationOptions;

/// A running model with the text side that belongs to it.
pub struct Llm {
    engine: EngineHandle,
    tokenizer: Arc<Tokenizer>,
    template: Option<Arc<ChatTemplate>>,
    template_error: Option<String>,
    card: ModelCard,
    constraints: Constraints,
    longest_token: usize,
    isolation: Option<Isolation>,
    place: Option<Place>,
}

/// What clients are told about a model, and what holds for requests that say nothing else.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// The names it is served under, one at least; answers carry the first.
    pub names: Vec<String>,
    /// Unix time since when it is served, in seconds.
    pub created: u64,
    /// Changes when the model or the build changes, and with it what a seed gives.
    pub fingerprint: String,
    /// What requests get that do not say how to sample.
    pub default_sampling: SamplingParams,
    /// The tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

impl Llm {
    /// The model behind `engine`. Without a `template` it only continues texts.
    pub fn new(
        engine: EngineHandle,
        tokenizer: Arc<Tokenizer>,
        template: Option<Arc<ChatTemplate>>,
        card: ModelCard,
    ) -> Self {
        let constraints = Constraints::new(
            Arc::clone(&tokenizer),
            engine.model_info().vocab_size,
            card.eos_token_ids.clone(),
        );
        Self {
            longest_token: longest_token(&tokenizer),
            engine,
            tokenizer,
            template,
            template_error: None,
            isolation: None,
            place: None,
            card,
            constraints,
        }
    }

    /// Why the model has no template that could be used, for those who ask for a chat.
    pub fn with_template_error(self, reason: Option<String>) -> Self {
        Self {
            template_error: reason,
            ..self
        }
    }

    /// Has work that may never end done in processes of its own, if there is an isolation.
    #[must_use]
    pub fn with_isolation(self, isolation: Option<Isolation>) -> Self {
        Self {
            constraints: self.constraints.tried_in(isolation.as_ref()),
            isolation,
            ..self
        }
    }

    /// Says where the model runs.
    #[must_use]
    pub fn with_place(self, place: Place) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// Where the model runs, if that was said.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Where work is done that may never end.
    pub fn isolation(&self) -> Option<&Isolation> {
        self.isolation.as_ref()
    }

    /// What computes.
    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// How a conversation becomes a prompt, where the model knows what a conversation is.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_deref()
    }

    /// Why the template that the model came with cannot be used, where that is so.
    pub fn template_error(&self) -> Option<&str> {
        self.template_error.as_deref()
    }

    /// What clients are told about the model.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The name that answers carry.
    pub fn name(&self) -> &str {
        &self.card.names[0]
    }

    /// Longest context, prompt and answer together, in tokens.
    pub fn max_model_len(&self) -> usize {
        self.engine.config().max_model_len
    }

    /// Bytes of the longest token.
    pub(crate) fn longest_token(&self) -> usize {
        self.longest_token
    }

    /// What holds answers to grammars and budgets.
    pub(crate) fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Hands one prompt to the engine. `param` is the field of the request that it came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub fn submit(
        &self,
        request_id: String,
        prompt_token_ids: Vec<u32>,
        options: &GenerationOptions,
        param: &str,
    ) -> Result<TextGeneration, LlmError> {
        let named = vec![(request_id, prompt_token_ids)];
        let mut generations = self.submit_all(named, options, param)?;
        Ok(generations.swap_remove(0))
    }

    /// Hands several prompts to the engine as one request, each under a name of its own in the log. The
    /// answers to each are numbered on from those to the one before.
    ///
    /// # Errors
    ///
    /// When the engine does not accept all of them.
    pub fn submit_all(
        &self,
        prompts: Vec<(String, Vec<u32>)>,
        options: &GenerationOptions,
        param: &str,
    ) -> Result<Vec<TextGeneration>, LlmError> {
        let request = |(request_id, prompt): (String, Vec<u32>)| GenerationRequest {
            request_id,
            prompt_token_ids: prompt.into(),
            params: SamplingParams {
                eos_token_ids: self.card.eos_token_ids.clone(),
                ..options.sampling.clone()
            },
            n: options.n,
            client: options.client,
            priority: options.priority,
            cache_salt: options.cache_salt.clone(),
            adapter: options.adapter.clone(),
            num_open_tokens: options.num_open_tokens,
        };
        let requests: Vec<_> = prompts.into_iter().map(request).collect();
        let prompts: Vec<_> = requests
            .iter()
            .map(|request| Arc::clone(&request.prompt_token_ids))
            .collect();
        let generations = self.engine.submit_all(requests);
        let generations = generations.map_err(|error| self.refusal(error, param))?;
        let answers = Answers::new(&self.tokenizer, options);
        let told = |(i, (generation, prompt))| {
            TextGeneration::new(generation, prompt, &answers, i * options.n)
        };
        Ok(generations
            .into_iter()
            .zip(prompts)
            .enumerate()
            .map(told)
            .collect())
    }

    /// What is said where as many requests wait as may.
    pub fn queue_full(&self) -> LlmError {
        let max_queue_len = self.engine.config().max_queue_len;
        self.refusal(SubmitError::QueueFull { max_queue_len }, "")
    }

    /// Why the engine does not accept a request.
    pub(crate) fn refusal(&self, error: SubmitError, prompt_param: &str) -> LlmError {
        let message = sentence(&error.to_string());
        match error {
            SubmitError::QueueFull { .. } => LlmError::overloaded(message, self.retry_after()),
            SubmitError::ContextLengthExceeded {
                prompt_tokens,
                min_tokens: 0 | 1,
                max_model_len,
            } => LlmError::context_length_exceeded(prompt_param, prompt_tokens, max_model_len),
            SubmitError::ContextLengthExceeded { .. } => LlmError::invalid("min_tokens", message),
            SubmitError::KvCacheTooSmall { .. } => LlmError::invalid(prompt_param, message),
            SubmitError::EmptyPrompt | SubmitError::TokenOutOfRange { .. } => {
                LlmError::invalid(prompt_param, message)
            }
            SubmitError::InvalidParam { param, message } => {
                LlmError::invalid(param, format!("`{param}` {message}."))
            }
            SubmitError::TooManySequences { .. } => LlmError::invalid("n", message),
            SubmitError::ShuttingDown => LlmError::shutting_down(),
            SubmitError::EngineStopped => LlmError::internal(message),
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

/// The bytes of the longest token.
fn longest_token(tokenizer: &Tokenizer) -> usize {
    let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
    let lengths = ids.filter_map(|id| tokenizer.token_bytes(id).map(<[u8]>::len));
    lengths.max().unwrap_or(0).max(1)
}

/// An error message of a lower layer as a sentence.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}
