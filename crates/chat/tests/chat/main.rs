//! The crate against the implementations that models were published with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fitted_conversations;
mod gguf_vocabularies;
mod hugging_face;
mod jinja;
mod mistral;
mod templates;
mod vocab_file;
