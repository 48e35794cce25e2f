//! Why a request is refused, or could not be answered.

use thiserror::Error;

/// A parameter with a value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{param}: {message}")]
pub struct InvalidParam {
    /// The parameter's name in the API.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl InvalidParam {
    pub(crate) fn new(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param,
            message: message.into(),
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
    /// The code that chooses this request's tokens panicked; no other request is touched.
    #[error("choosing a token panicked: {0}")]
    Panicked(String),
    /// The client takes none of its events.
    #[error("the client has not read the answer: {0} tokens of it wait")]
    Unread(usize),
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
