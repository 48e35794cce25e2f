//! The crate's behaviour: logits against reference data, files of every kind, and hostile ones.
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by panicking

mod adapters;
mod formats;
mod gguf;
mod gpu;
mod harness;
mod hidden_states;
mod hostile;
mod oracle;
mod parity;
