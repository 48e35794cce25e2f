//! The HTTP API: the only crate that knows HTTP and wire JSON.
//!
//! ```text
//! request ─▶ request_id ─▶ body ─▶ dialects/…/convert ─▶ matou_llm::prepare ─▶ engine
//!            (name, span)  (bytes)  (pure: wire JSON                             │
//!                                    to a request, or a                          │
//!                                    typed rejection)                            ▼
//! response ◀─ sse or JSON ◀─ dialects/…/{stream,answer} ◀──── matou_llm::generation
//!                            (pure)                           GenerationEvent
//! ```
//!
//! Async tasks never compute: everything between the body and the engine runs on the threads of
//! `Workers`. A client that goes away drops its response, with it the generation, and with that the
//! engine's work.

mod access;
mod body;
mod caller;
mod connections;
mod dialects;
mod error;
mod lifecycle;
mod limits;
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
pub use limits::Limits;
pub use serve::{app, serve};
pub use state::AppState;
