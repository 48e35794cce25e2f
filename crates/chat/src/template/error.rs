//! What can go wrong with a template.

use serde::{Deserialize, Serialize};

/// Why a template cannot be used, or not with these messages.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum TemplateError {
    /// The template is not valid Jinja, or there is none called `default`.
    #[error("invalid chat template: {message}")]
    Invalid {
        /// What is wrong, and where.
        message: String,
    },
    /// A file that may hold a template could not be read.
    #[error("cannot read the chat template {path}: {message}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        message: String,
    },
    /// The template itself refused the messages, in these words (`raise_exception`).
    #[error("{0}")]
    Raised(String),
    /// The messages cannot be rendered with this template or any other.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// The field, such as `messages[2].content`.
        param: String,
    },
    /// The template failed on these messages: it used what is not there, or what does not exist.
    #[error("the chat template failed: {message}")]
    Failed {
        /// What went wrong, and where.
        message: String,
    },
    /// No place was free to run the template in; trying again later may work.
    #[error("the chat template cannot run now: {message}")]
    Busy {
        /// Why not.
        message: String,
    },
    /// The template took more steps or wrote more text than any real one needs.
    #[error("the chat template did not come to an end: {message}")]
    Runaway {
        /// Which bound it met.
        message: String,
    },
}
