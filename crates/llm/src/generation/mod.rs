//! From the engine's tokens to text: the pipeline of every dialect and of the terminal commands.
//!
//! ```text
//! EngineEvent::Token ──▶ Detokenizer ──▶ StopStrings ──▶ GenerationEvent::Text
//!                        holds back        holds back a tail that
//!                        half characters   could begin a stop string
//! ```
//!
//! Text is final when it is emitted. A token's log-probability travels with the event that
//! completes the token's text, so that text and log-probabilities of a stream stay together, and
//! what a stop string cuts off is cut from both. A stop string ends its choice here, and the engine
//! is told; when all choices have ended, the engine's request is dropped.

mod choice;
mod collect;
mod event;
mod text;

pub use collect::{Collected, CollectedChoice, Collector, begin, collect};
pub use event::{
    EventStream, GenerationEvent, PromptRead, RankedToken, Timings, TokenLogprob, TokenUsage,
};
pub(crate) use text::Answers;
pub use text::TextGeneration;
