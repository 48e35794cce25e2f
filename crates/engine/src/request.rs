//! What goes into the engine and what comes out of it.

use std::sync::Arc;

use matou_model::Adapter;

use crate::error::GenerationError;
use crate::sampling::{SamplingParams, TokenLogprobs};

/// Who asks. Clients take turns, however much each of them asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    /// Everybody, where clients are not told apart.
    pub const ANYBODY: Self = Self(0);
}

/// One prompt to be continued `n` times.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// Name of the request in logs.
    pub request_id: String,
    /// The prompt; at least one token.
    pub prompt_token_ids: Arc<[u32]>,
    /// How to choose tokens and when to stop.
    pub params: SamplingParams,
    /// Number of answers. They share the prompt's blocks.
    pub n: usize,
    /// Whose request it is.
    pub client: ClientId,
    /// Lower runs earlier: a unit is worth a place in the line, and no more than
    /// [`EngineConfig::max_priority`](crate::EngineConfig::max_priority) of them count.
    pub priority: i32,
    /// Requests share computed blocks only with those that have the same: who does not know it cannot
    /// find out by the time that a prompt takes what others have asked.
    pub cache_salt: Option<Arc<str>>,
    /// What its tokens are computed with beside the model's weights. Requests share computed blocks only
    /// with those that have the same.
    pub adapter: Option<Arc<Adapter>>,
    /// Leading tokens of the prompt that are no secret of whoever asks, such as what the server itself puts
    /// before it: what is computed of them is shared whatever the `cache_salt`.
    pub num_open_tokens: usize,
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
