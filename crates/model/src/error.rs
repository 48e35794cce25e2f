//! What can go wrong with a model.

use thiserror::Error;

/// Errors of loading and running a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The KV cache cannot be allocated.
    #[error("cannot allocate the KV cache: {0}")]
    KvCache(String),
    /// A forward step failed.
    #[error("forward step failed: {0}")]
    Forward(String),
}
