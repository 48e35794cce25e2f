//! The HTTP API: the only crate that knows HTTP and wire JSON.
//!
//! ```text
//! request ─▶ request_id ─▶ body ─▶ door ─▶ dialects/…/convert ─▶ matou_llm::prepare ─▶ engine
//!            (name, span)  (bytes) (model)  (pure: wire JSON                            │
//!                                            to a request, or a                         │
//!                                            typed rejection)                           ▼
//! response ◀─ sse or JSON ◀─ dialects/…/{stream,answer} ◀──── matou_llm::generation
//!                            (pure)                           GenerationEvent
//! ```
//!
//! Async tasks never compute: everything between the body and the engine runs on the threads of
//! `Workers`. A client that goes away drops its response, with it the generation, and with that the
//! engine's work.

mod access;
mod blocking;
mod body;
mod caller;
mod clock;
mod company;
mod connections;
mod current;
mod dialects;
mod door;
mod encryption;
mod error;
mod label;
mod lifecycle;
mod limits;
mod management;
mod metrics;
mod openapi;
mod page;
mod provenance;
mod reach;
mod request_id;
mod serve;
mod service;
mod serving;
mod session;
mod shelf;
mod sse;
mod state;
mod violations;
mod workers;

pub use access::{Access, ApiKeys};
pub use dialects::known_fields;
pub use encryption::Encryption;
pub use limits::Limits;
pub use management::{ModelManagement, PersonaEditError, PersonaManagement, PullProgress};
pub use reach::Reach;
pub use serve::{app, serve};
pub use state::{AppState, Live, Settings};
