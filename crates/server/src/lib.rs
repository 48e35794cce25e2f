//! The HTTP API: the only crate that knows HTTP and wire JSON.
//!
//! ```text
//! request ─▶ request_id ─▶ body ─▶ dialects/…/convert ─▶ prompt ─▶ engine
//!            (name, span)  (bytes)  (pure: wire JSON      (template,    │
//!                                    to a request, or a    tokenizer)   │ EngineEvent
//!                                    typed rejection)                   ▼
//! response ◀─ sse or JSON ◀─ dialects/…/{stream,answer} ◀─ generation (text, stop strings)
//!                            (pure)                        GenerationEvent
//! ```
//!
//! Async tasks never compute: everything between the body and the engine runs in
//! [`AppState::compute`]. A client that goes away drops its response, with it the generation, and
//! with that the engine's work.

mod access;
mod body;
mod dialects;
mod error;
mod lifecycle;
mod metrics;
mod openapi;
mod request_id;
mod serve;
mod service;
mod serving;
mod sse;
mod state;
mod workers;

pub use access::{Access, ApiKeys};
pub use dialects::known_fields;
pub use serve::{app, serve};
pub use state::{AppState, Limits};
