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
mod conversation;
pub mod dialects;
mod embedding;
mod error;
mod functions;
pub mod gap;
pub mod generation;
pub mod message;
pub mod metrics;
pub mod openapi;
pub mod prompt;
pub mod request;
mod request_id;
mod serve;
mod service;
pub mod sse;
mod state;
mod structured;
mod thinking;
pub mod tools;

pub use access::{Access, ApiKeys};
pub use body::{JsonBody, known_fields};
pub use error::{ApiError, ErrorBody};
pub use request_id::RequestId;
pub use serve::{app, serve};
pub use state::{AppState, Limits, ModelCard, SharedState};
pub use thinking::ThinkingPlan;
