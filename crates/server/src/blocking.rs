//! Work that waits for a disk, or computes for a while, off the async workers.

use crate::error::ApiError;

/// What `work` gives.
///
/// # Errors
///
/// When it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal(error.to_string()))
}
