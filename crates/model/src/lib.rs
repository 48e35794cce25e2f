//! Weights, layers and model families.
//!
//! ```text
//! checkpoint ── weights/ (GGUF, safetensors) ── config/ ── registry ── families/
//!   │                                                                     │
//!   └──────────────────────── decoder ── layers/ ─────────────────────────┘
//!                                 │         │
//!                                 └── backend/: matou's kernels on the CPU, its shaders on GPUs, or
//!                                     candle's operations as the reference
//! ```
//!
//! A [`Checkpoint`] is opened once and gives a [`LanguageModel`]: a [`ForwardBatch`] in, [`Logits`]
//! out. Every family is the same decoder with particulars of its own, so all of them run ragged
//! batches over the paged cache.

mod adapter;
mod backend;
mod checkpoint;
mod config;
mod cost;
mod decoder;
mod device;
mod error;
mod families;
mod format_name;
mod forward_batch;
mod language_model;
mod layers;
mod load_options;
mod loader;
mod quantize;
mod registry;
mod summary;
mod validate;
mod weights;

pub use adapter::{Adapter, AdapterFiles, AdapterTargets};
pub use checkpoint::{Checkpoint, TextFiles, WeightFiles};
pub use cost::{Roofs, TokenCost, WeightCost};
pub use device::DeviceChoice;
pub use error::ModelError;
pub use forward_batch::{BLOCK_SIZE, ForwardBatch, Logits};
pub use language_model::{KvCacheDtype, LanguageModel, ModelInfo};
pub use load_options::{Dtype, LoadOptions};
pub use loader::Progress;
pub use matou_gpu::{DeviceInfo, DeviceKind, DeviceMemory, list as gpus, quiet_drivers};
pub use matou_kernels::{ThreadPool, give_back_freed};
pub use quantize::Quantization;
pub use summary::ModelSummary;
pub use weights::{GgufArray, GgufFile, GgufMetadata, GgufTensor, GgufValue, Shape};
