//! Why a request cannot be answered: what kind of fault it is, the field of the request that it is
//! about, and a sentence for people. How a server tells its clients is the server's business.

use std::time::Duration;

use matou_engine::{GenerationError, InvalidParam};

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LlmError {
    /// What kind of fault it is.
    pub kind: ErrorKind,
    /// The field at fault, as a path into the request (`messages[0].content`), if there is one.
    pub param: Option<String>,
    /// What happened and what to do, as a sentence.
    pub message: String,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request as a whole makes no sense.
    InvalidRequest,
    /// A field has a value that is not allowed.
    InvalidValue,
    /// A field asks for something that this model cannot do.
    Unsupported,
    /// The prompt leaves no room in the context for an answer.
    ContextLengthExceeded {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that prompt and answer may have together.
        max_model_len: usize,
    },
    /// The request names a model that is not there.
    ModelNotFound,
    /// Too many requests wait.
    Overloaded {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The model cannot be had now.
    Unavailable {
        /// When it is worth trying again, if it is.
        retry_after: Option<Duration>,
    },
    /// The engine is stopping.
    ShuttingDown,
    /// No fault of the request.
    Internal,
}

impl LlmError {
    fn new(kind: ErrorKind, param: Option<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            param,
            message: message.into(),
        }
    }

    /// The request as a whole makes no sense.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, None, message)
    }

    /// The field `param` has a value that is not allowed.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidValue, Some(param.into()), message)
    }

    /// The field `param` asks for something that this model cannot do.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, Some(param.into()), message)
    }

    /// The prompt, which came as `param`, leaves no room in the context for an answer. The words are
    /// OpenAI's: clients look for them to know that they have to shorten the conversation.
    pub fn context_length_exceeded(
        param: impl Into<String>,
        prompt_tokens: usize,
        max_model_len: usize,
    ) -> Self {
        Self::context_exceeded(param, "", prompt_tokens, max_model_len)
    }

    /// The same, of a prompt that was not tokenised to its end: it has more than `prompt_tokens`.
    pub(crate) fn context_length_exceeded_by_far(
        param: impl Into<String>,
        prompt_tokens: usize,
        max_model_len: usize,
    ) -> Self {
        Self::context_exceeded(param, "at least ", prompt_tokens, max_model_len)
    }

    fn context_exceeded(
        param: impl Into<String>,
        at_least: &str,
        prompt_tokens: usize,
        max_model_len: usize,
    ) -> Self {
        let kind = ErrorKind::ContextLengthExceeded {
            prompt_tokens,
            max_model_len,
        };
        let message = format!(
            "This model's maximum context length is {max_model_len} tokens. However, your prompt \
             resulted in {at_least}{prompt_tokens} tokens, which leaves no room for an answer. Please reduce \
             the length of the prompt."
        );
        Self::new(kind, Some(param.into()), message)
    }

    /// The request names a model that is not there.
    pub fn model_not_found(requested: &str, served: &[String]) -> Self {
        let message = format!(
            "The model `{requested}` does not exist; this server serves {}.",
            served.join(", ")
        );
        Self::new(ErrorKind::ModelNotFound, Some("model".to_owned()), message)
    }

    /// The model cannot be had now; worth trying again after `retry_after`, if ever.
    pub fn unavailable(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let kind = ErrorKind::Unavailable { retry_after };
        Self::new(kind, Some("model".to_owned()), message)
    }

    /// Too many requests wait; worth trying again after `retry_after`.
    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(ErrorKind::Overloaded { retry_after }, None, message)
    }

    /// The engine is stopping.
    pub fn shutting_down() -> Self {
        let message = "The server is shutting down.";
        Self::new(ErrorKind::ShuttingDown, None, message)
    }

    /// No fault of the request.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, None, message)
    }
}

/// What fails after a request was accepted is no fault of the request, unless no engine could go on.
impl From<GenerationError> for LlmError {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Contradiction(InvalidParam { param, message }) => {
                Self::invalid(param, format!("`{param}` {message}."))
            }
            error if error.is_of_the_request() => {
                Self::invalid_request(format!("The answer cannot be completed: {error}."))
            }
            error => Self::internal(format!("The answer could not be completed: {error}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_engine_could_answer_is_the_fault_of_the_request() {
        let message = "as the test wants it".to_owned();
        let param = "min_tokens";
        let invalid = InvalidParam {
            param,
            message: message.clone(),
        };
        for (error, kind) in [
            (
                GenerationError::Contradiction(invalid),
                ErrorKind::InvalidValue,
            ),
            (
                GenerationError::Grammar(message.clone()),
                ErrorKind::InvalidRequest,
            ),
            (
                GenerationError::Sampling(message.clone()),
                ErrorKind::Internal,
            ),
            (
                GenerationError::Forward(message.clone()),
                ErrorKind::Internal,
            ),
        ] {
            let error = LlmError::from(error);
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(&message), "{error}");
        }
    }
}
