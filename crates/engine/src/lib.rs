//! Continuous batching: scheduler, KV block pool, sampling, engine thread.

mod config;
mod handle;
mod request;
pub mod sampling;
pub mod stats;

pub use config::{EngineConfig, EngineError};
pub use handle::{EngineHandle, Generation, MAX_N, SubmitError};
pub use request::{EngineEvent, FinishReason, GenerationError, GenerationRequest, TokenLogprobs};
pub use sampling::{InvalidParam, MirostatParams, SamplingParams};
pub use stats::{EngineStats, Histogram};
