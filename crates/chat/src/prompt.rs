//! What the template and the tokenizer hand each other: the tokens that a template writes, and the
//! prompt that it rendered.

use serde::{Deserialize, Serialize};

/// What a template has to know of the tokenizer; see [`Tokenizer::template_tokens`].
///
/// [`Tokenizer::template_tokens`]: crate::Tokenizer::template_tokens
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateTokens {
    /// The variable `bos_token`.
    pub bos_token: String,
    /// The variable `eos_token`.
    pub eos_token: String,
    /// The texts of all control tokens, which messages must not smuggle in.
    pub control_tokens: Vec<String>,
}

/// A rendered prompt, which still knows what in it was written by a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedPrompt {
    marked: String,
    marker: Option<char>,
}

impl RenderedPrompt {
    pub(crate) fn new(marked: String, marker: Option<char>) -> Self {
        Self { marked, marker }
    }

    /// The prompt as the model reads it.
    pub fn text(&self) -> String {
        match self.marker {
            Some(marker) => self.marked.replace(marker, ""),
            None => self.marked.clone(),
        }
    }

    /// The prompt with its marks.
    pub(crate) fn marked_text(&self) -> &str {
        &self.marked
    }

    /// The character that is a mark wherever it occurs, if there are marks.
    pub(crate) fn marker(&self) -> Option<char> {
        self.marker
    }
}
