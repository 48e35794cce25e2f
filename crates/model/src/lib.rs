//! Weights, layers and model families on candle tensors

mod config;
mod error;
mod forward_batch;
mod language_model;
mod weights;

pub use error::ModelError;
pub use forward_batch::{BLOCK_SIZE, ForwardBatch, Logits};
pub use language_model::{KvCacheDtype, LanguageModel, ModelInfo};
pub use weights::{GgufArray, GgufFile, GgufMetadata, GgufTensor, GgufValue};
