//! Text in, text out: one served model, without a word of HTTP.
//!
//! ```text
//! open ──▶ Llm (engine, tokenizer, template, constraints)
//!
//! ChatCall ───▶ prepare::chat ─┐                        EngineEvent
//! PromptInput ▶ prepare::raw ──┴▶ PreparedPrompt ─▶ Llm ──────────▶ generation ──▶ GenerationEvent
//!               template, tokenizer,                 (engine)       text, stop strings
//!               tools, constraint                                        │
//!                                        message: thoughts, text, calls ◀┘
//! ```
//!
//! A server turns its wire formats into the requests of [`request`] and the events of [`generation`]
//! into its answers; a terminal or a program of your own does without the wire.

mod constraint;
pub mod embedding;
mod error;
mod gap;
pub mod generation;
pub mod isolation;
mod length;
mod llm;
pub mod message;
pub mod models;
pub mod open;
mod persona;
pub mod prepare;
mod prompt;
pub mod request;
pub mod tools;
mod wanted;

pub use error::{ErrorKind, LlmError};
pub use length::{check_countable, check_length, tokenize_fitting};
pub use llm::{Llm, ModelCard};
pub use prompt::tokenize_input;
pub use wanted::{UntilDropped, Wanted};
