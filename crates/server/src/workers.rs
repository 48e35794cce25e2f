//! Computing off the async workers: parsing, templates, tokenising, grammars. A long prompt must not
//! hold up the streams of others.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::Span;

use crate::error::ApiError;

/// As many threads as there are cores, and bounded places to wait for one.
#[derive(Clone)]
pub(crate) struct Workers {
    admission: Arc<Semaphore>,
    cores: Arc<Semaphore>,
}

/// There is no place to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Full;

impl Workers {
    /// With room for `waiting` pieces of work beside those that run.
    pub(crate) fn new(waiting: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            admission: Arc::new(Semaphore::new(cores + waiting)),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// Runs `work` once a core is free.
    ///
    /// # Errors
    ///
    /// [`Full`] when too many wait; inside of it the error of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Result<T, ApiError>, Full> {
        let Ok(admitted) = Arc::clone(&self.admission).try_acquire_owned() else {
            return Err(Full);
        };
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .expect("the semaphores are never closed");
        let span = Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _held_until_done = (admitted, core);
            span.in_scope(work)
        });
        Ok(task.await.unwrap_or_else(|error| {
            Err(ApiError::internal(format!(
                "A task of the server failed: {error}."
            )))
        }))
    }
}
