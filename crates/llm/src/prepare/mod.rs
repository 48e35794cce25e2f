//! From a request to a prompt that the engine computes on: a conversation through the template
//! ([`chat`]), or texts and token ids as they are ([`raw`]). All of it is computing that may take a
//! while, for a long prompt or a large grammar: no work for an async worker.

mod chat;
mod raw;

use crate::error::LlmError;
use crate::generation::TextGeneration;
use crate::llm::Llm;
use crate::message::MessageFormat;
use crate::request::GenerationOptions;

pub use chat::{chat, render_chat, tokenize_chat};
pub use raw::{RawPrompts, raw};

/// A prompt that is ready for the engine.
#[derive(Debug)]
pub struct PreparedPrompt {
    /// Its token ids.
    pub prompt_token_ids: Vec<u32>,
    /// How to answer it, with the grammar compiled.
    pub options: GenerationOptions,
    /// How the answer is written.
    pub format: MessageFormat,
}

impl PreparedPrompt {
    /// Hands the prompt to the engine. `param` is the field of the request that it came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub fn start(
        self,
        llm: &Llm,
        request_id: String,
        param: &str,
    ) -> Result<TextGeneration, LlmError> {
        llm.submit(request_id, self.prompt_token_ids, &self.options, param)
    }
}
