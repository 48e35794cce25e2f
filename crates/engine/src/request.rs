//! What goes into the engine and what comes out of it.

use thiserror::Error;

use crate::sampling::{InvalidParam, SamplingParams};

/// One prompt to be continued `n` times.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// Name of the request in logs.
    pub request_id: String,
    /// The prompt; at least one token.
    pub prompt_token_ids: Vec<u32>,
    /// How to choose tokens and when to stop.
    pub params: SamplingParams,
    /// Number of answers. They share the prompt's blocks.
    pub n: usize,
    /// Lower runs earlier. A unit is worth as much as having arrived 256 sequences before; so only
    /// a limited number of later requests can overtake, and none starves.
    pub priority: i32,
}

/// What happens to a request, in order.
///
/// A request gets one `Prompt`, then for each index its tokens and one `Finished`; or, at any
/// point, one `Failed` that ends all of it.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineEvent {
    /// The prompt has been read. Comes once, before the first token.
    Prompt {
        /// Prompt tokens whose keys and values were found in the prefix cache.
        cached_tokens: usize,
        /// One entry a prompt token if [`SamplingParams::prompt_logprobs`] asked for them; the
        /// first is `None`, as nothing comes before it.
        logprobs: Option<Vec<Option<TokenLogprobs>>>,
    },
    /// The embedding of the prompt, if [`SamplingParams::prompt_embedding`] asked for it. Comes once,
    /// after `Prompt`.
    Embedding {
        /// `[hidden_size]` mean of the final hidden states of the prompt's tokens.
        embedding: Vec<f32>,
    },
    /// A token was generated.
    Token {
        /// Which of the `n` answers.
        index: usize,
        /// The token.
        token_id: u32,
        /// If [`SamplingParams::logprobs`] asked for them.
        logprobs: Option<TokenLogprobs>,
    },
    /// An answer is complete.
    Finished {
        /// Which of the `n` answers.
        index: usize,
        /// Why it ended.
        reason: FinishReason,
        /// The token that ended it, which is not sent as [`EngineEvent::Token`].
        stop_token: Option<u32>,
    },
    /// The whole request failed.
    Failed {
        /// What happened.
        error: GenerationError,
    },
}

/// Log-probabilities of one position, of the model's own distribution: before temperature,
/// penalties and all other samplers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenLogprobs {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The token's place among all tokens, the most likely one's being 1.
    pub rank: usize,
    /// The most likely tokens with theirs, best first.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model chose a stop token, or the client had all it wanted ([`Generation::stop`]).
    ///
    /// [`Generation::stop`]: crate::Generation::stop
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The client went away.
    Aborted,
}

impl FinishReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Stop, Self::Length, Self::Aborted];

    /// The reason's name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Aborted => "abort",
        }
    }
}

/// Why an accepted request could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenerationError {
    /// The step that computed the request failed, or panicked.
    #[error("the model failed while computing this request: {0}")]
    Forward(String),
    /// No token can be chosen, and not because of the request: the logits are not finite.
    #[error("no token can be sampled: {0}")]
    Sampling(String),
    /// The request itself excludes every token.
    #[error("no token is left: {0}")]
    Contradiction(InvalidParam),
    /// The request's grammar cannot be followed any further.
    #[error("{0}")]
    Grammar(String),
    /// The engine ended before the request did.
    #[error("the engine stopped before the request was complete")]
    EngineStopped,
}

impl GenerationError {
    /// Whether the request could not have been answered by any model.
    pub fn is_of_the_request(&self) -> bool {
        matches!(self, Self::Contradiction(_) | Self::Grammar(_))
    }
}
