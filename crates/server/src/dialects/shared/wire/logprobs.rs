//! Log-probabilities as OpenAI's chats report them.

use serde::Serialize;
use utoipa::ToSchema;

/// Log-probabilities of a chat answer.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<ChatTokenLogprob>,
    /// Always null.
    pub refusal: Option<Vec<ChatTokenLogprob>>,
}

/// A token of a chat answer and the likeliest others at its place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChatTokenLogprob {
    /// The token that was chosen.
    #[serde(flatten)]
    pub token: ChatToken,
    /// Best first.
    pub top_logprobs: Vec<ChatToken>,
}

/// A token and its log-probability.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChatToken {
    /// The token's text, lossy if it is part of a character.
    pub token: String,
    /// Natural logarithm of its probability before sampling, at least -9999.
    pub logprob: f32,
    /// The token's exact bytes.
    pub bytes: Vec<u8>,
}
