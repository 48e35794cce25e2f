//! What happens to a request, as its text is generated.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use matou_engine::FinishReason;

use crate::error::LlmError;

/// What happens to a request, in the order in which it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// A prompt has been read. Comes once a prompt, before any text of its choices.
    Prompt(PromptRead),
    /// More of an answer.
    Text {
        /// Which choice.
        index: usize,
        /// Text that is final; empty if all that is new is half a character.
        text: String,
        /// The tokens that this text completes, if log-probabilities were asked for.
        tokens: Vec<TokenLogprob>,
    },
    /// A choice has ended. Comes once a choice, unless the request fails.
    Finished {
        /// Which choice.
        index: usize,
        /// Why.
        reason: FinishReason,
        /// The stop string that ended it, if one did.
        stop: Option<String>,
        /// Tokens generated for it: those of the stop string and an end-of-text token count too.
        completion_tokens: usize,
        /// How long it took.
        timings: Timings,
    },
    /// The request has failed; nothing follows.
    Failed(LlmError),
}

/// What is known once a prompt has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptRead {
    /// The first choice that answers this prompt.
    pub first_index: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were in the prefix cache.
    pub cached_tokens: usize,
    /// The prompt's own log-probabilities, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// The same by token ids, with ranks: at each place the prompt's own token, then the likeliest.
    pub ranked: Vec<Vec<RankedToken>>,
}

/// How long an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the prompt was read, waiting included.
    pub prompt: Duration,
    /// From then on.
    pub generation: Duration,
}

/// A token, how likely it was, and what was likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this place, best first: bytes and log-probability.
    pub top: Vec<(Vec<u8>, f32)>,
    /// Where its text begins, in characters from the beginning of its prompt or answer.
    pub text_offset: usize,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of all prompts, each counted once.
    pub prompt_tokens: usize,
    /// How many of them were in the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated for all choices.
    pub completion_tokens: usize,
}

impl TokenUsage {
    /// Counts what `event` tells.
    pub fn count(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Prompt(prompt) => {
                self.prompt_tokens += prompt.prompt_tokens;
                self.cached_tokens += prompt.cached_tokens;
            }
            GenerationEvent::Finished {
                completion_tokens, ..
            } => {
                self.completion_tokens += completion_tokens;
            }
            GenerationEvent::Text { .. } | GenerationEvent::Failed(_) => {}
        }
    }
}

/// A token at a place of the prompt, and how likely it was there.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedToken {
    /// The token.
    pub token_id: u32,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its place among all tokens, the likeliest one's being 1.
    pub rank: usize,
}

/// A stream of [`GenerationEvent`]s. Dropping it stops the generation.
pub type EventStream = Pin<Box<dyn Stream<Item = GenerationEvent> + Send>>;
