//! What can go wrong, and whose fault it is.

use thiserror::Error;

/// Why a grammar was not compiled.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GrammarError {
    /// The schema uses something that the grammar can't enforce completely.
    #[error("the schema feature `{keyword}` at {path} is not supported: {reason}")]
    UnsupportedSchema {
        /// Where: a JSON path from the root of the schema, such as `$.properties.a.not`.
        path: String,
        /// The keyword, such as `not`.
        keyword: String,
        /// What about it is not supported, and what would be.
        reason: String,
    },
    /// The schema is not a valid JSON schema, or nothing can satisfy it.
    #[error("invalid JSON schema at {path}: {reason}")]
    InvalidSchema {
        /// Where: a JSON path from the root of the schema.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A regex, choice, Lark or GBNF grammar that does not parse, or that can't be expressed.
    #[error("invalid {kind}: {reason}")]
    InvalidGrammar {
        /// `regex`, `choice`, `Lark grammar` or `GBNF grammar`.
        kind: &'static str,
        /// What is wrong, with the line where there are lines.
        reason: String,
    },
    /// The grammar exceeds a limit of [`CompileLimits`](crate::CompileLimits).
    #[error("the grammar is too large: {0}")]
    TooLarge(String),
    /// Compiling took longer than [`CompileLimits::timeout`](crate::CompileLimits).
    #[error("the grammar is too complex: it did not compile within {0} ms")]
    Timeout(u64),
    /// Too many grammars are being compiled at the moment; trying again later may work.
    #[error("too many grammars are being compiled; try again later")]
    Busy,
    /// The vocabulary can't be constrained: no end-of-turn token, a token id out of range.
    #[error("the vocabulary can't be constrained: {0}")]
    Vocabulary(String),
}

impl GrammarError {
    /// True if the request is at fault (HTTP 400), false if the server is (503, 500).
    pub fn is_client_error(&self) -> bool {
        !matches!(self, Self::Busy | Self::Vocabulary(_))
    }
}

/// Why a constraint could not go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConstraintError {
    /// The token is not in the mask.
    #[error("token {token} is not allowed by the grammar")]
    TokenNotAllowed {
        /// The offending token id.
        token: u32,
    },
    /// The grammar needs more work or memory for one token than the limits allow, or has come to
    /// a dead end: no token of the vocabulary continues it.
    #[error("the grammar can't be followed any further: {0}")]
    Failed(String),
}

/// The part of an llguidance message that means something to a client: its dump of the parser's
/// state and the backtrace of a caught panic are cut off.
pub(crate) fn first_part(message: &str) -> String {
    let end = ["<state>", "<non-verbose/>", "<backtrace>"]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min()
        .unwrap_or(message.len());
    message[..end].trim_end().to_owned()
}
