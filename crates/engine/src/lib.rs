//! Continuous batching: one thread that serves many sequences at once, and gives each the answer it
//! would have had alone.
//!
//! ```text
//! EngineHandle ──submit──► engine: drain commands                       ──► Generation
//!  (any thread)              │      schedule          scheduler               (events)
//!                            │      ForwardBatch      kv_cache_manager
//!                            │      forward           block_pool
//!                            │      sample            model_runner, sampling
//!                            └────  update            lifecycle
//! ```
//!
//! - [`EngineHandle`] checks requests and queues them, [`Generation`] yields their events; dropping
//!   it cancels the request.
//! - `scheduler`, `kv_cache_manager` and `block_pool` decide what a step computes and where it is
//!   kept. They hold no tensors, clocks or I/O.
//! - `model_runner` turns that into a [`ForwardBatch`](matou_model::ForwardBatch), runs the model, and
//!   samples; [`sampling`] lists the stages and their order.
//! - `lifecycle` sends events and sees to it that every request gets exactly one terminal event for
//!   each of its answers, or one for all.

mod block_pool;
mod config;
mod embedding;
mod engine;
mod error;
mod generation;
mod handle;
mod kv_cache_manager;
mod lifecycle;
mod model_runner;
mod pacing;
mod queue;
mod request;
pub mod sampling;
mod scheduler;
mod sequence;
mod stats;
mod step;
mod submission;
mod turns;

pub use config::{EngineConfig, EngineError};
pub use engine::{Engine, EngineThread};
pub use error::{GenerationError, InvalidParam};
pub use generation::Generation;
pub use handle::{EngineHandle, MAX_N, MAX_SEQUENCES, SubmitError};
pub use request::{ClientId, EngineEvent, FinishReason, GenerationRequest};
pub use sampling::{
    ConstraintFactory, MirostatParams, OutputConstraint, SamplingParams, TokenConstraint,
    TokenLogprobs,
};
pub use stats::{EngineStats, Histogram};
pub use turns::Turns;
