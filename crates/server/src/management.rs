//! What clients may do to the models of a machine, where its owner lets them.

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::error::ApiError;

/// How far a model has been fetched, in bytes; both are zero as long as nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that are here.
    pub completed: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What clients may do to the models of a machine.
pub trait ModelManagement: Send + Sync + 'static {
    /// Fetches a model, and has it served. Tells how far it is. Dropped, it stops.
    ///
    /// The error is a sentence for people.
    fn pull(
        &self,
        model: String,
        progress: watch::Sender<PullProgress>,
    ) -> BoxFuture<'static, Result<(), String>>;

    /// Deletes a model from this machine.
    ///
    /// The error is a sentence for people.
    fn delete(&self, model: String) -> BoxFuture<'static, Result<(), String>>;
}

/// What a client is told that may not do it.
pub(crate) fn forbidden() -> ApiError {
    ApiError::forbidden(
        "Models and adapters of this machine are its owner's affair: `matou pull` fetches models, and \
         `--lora` serves adapters. Start the server with `--allow-model-management` to let clients do it.",
    )
}
