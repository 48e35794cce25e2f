//! What can go wrong with a model.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Errors of loading and running a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be opened, mapped or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A weight file's bytes are not what its format asks for.
    #[error("{}: {message}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key or tensor and the offset.
        message: String,
    },
    /// A field of `config.json` or of the GGUF metadata is missing or out of range.
    #[error("{}: `{field}` {message}", path.display())]
    InvalidConfig {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// No family in the registry builds this architecture.
    #[error("unsupported architecture {architecture}; supported: {supported}")]
    UnsupportedArchitecture {
        /// As the file states it.
        architecture: String,
        /// Every name that the registry knows.
        supported: String,
    },
    /// The weights lack a tensor that the architecture needs.
    #[error("tensor {name} is missing from {}", path.display())]
    MissingTensor {
        /// Hugging Face name of the tensor.
        name: String,
        /// The file or folder that was searched.
        path: PathBuf,
    },
    /// A tensor's shape contradicts the configuration.
    #[error("tensor {name} has shape {found:?}, the configuration asks for {expected:?}")]
    WrongShape {
        /// Hugging Face name of the tensor.
        name: String,
        /// Shape in the file, slowest dimension first.
        found: Vec<usize>,
        /// Shape that follows from the configuration.
        expected: Vec<usize>,
    },
    /// A tensor's element type is not one that matou computes with.
    #[error("tensor {name} has type {type_name}, which is not supported")]
    UnsupportedTensorType {
        /// Name of the tensor in its file.
        name: String,
        /// Name of the type, or its number where it has none.
        type_name: String,
    },
    /// The kernels refuse a tensor's bytes.
    #[error("tensor {name}: {message}")]
    Pack {
        /// Hugging Face name of the tensor.
        name: String,
        /// Why.
        message: String,
    },
    /// The device asked for is not there.
    #[error("{0}")]
    Device(String),
    /// The KV cache cannot be allocated.
    #[error("cannot allocate the KV cache: {0}")]
    KvCache(String),
    /// A batch contradicts itself or the model.
    #[error("invalid batch: {0}")]
    InvalidBatch(String),
    /// A forward step failed.
    #[error("forward step failed: {0}")]
    Forward(String),
    /// The GPU, or its driver, failed.
    #[error(transparent)]
    Gpu(#[from] matou_gpu::GpuError),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
}

/// Results of this crate.
pub(crate) type Result<T> = std::result::Result<T, ModelError>;

/// A field of a config that is missing or out of range.
pub(crate) fn invalid_config(path: &Path, field: &str, message: String) -> ModelError {
    ModelError::InvalidConfig {
        path: path.to_owned(),
        field: field.to_owned(),
        message,
    }
}
