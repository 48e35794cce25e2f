//! Computing off the async workers: parsing, templates, tokenising, grammars. A long prompt must not
//! hold up the streams of others.
//!
//! Clients take turns. Each may have as many pieces of work at once as there are cores, run or next in
//! line for one, so a client's piece waits for at most that many of each other's; and there are places
//! beyond the cores, as a piece may wait for a process of its own. Waiting takes no
//! thread, and ends when the client goes. Work that has begun cannot be interrupted from outside: it
//! is bounded by what a request may hold, and asks between its parts whether it is still [`Wanted`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matou_llm::Wanted;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Span;

use crate::error::ApiError;
use matou_engine::ClientId;

/// How long a piece of work may take.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// As many threads as there are cores, and bounded places to wait for one.
#[derive(Clone)]
pub(crate) struct Workers {
    /// Places to run and to wait, those of each client apart.
    admission: usize,
    cores: Arc<Semaphore>,
    num_cores: usize,
    turns: Arc<Mutex<HashMap<ClientId, Turn>>>,
}

/// One client's work.
#[derive(Clone)]
struct Turn {
    admission: Arc<Semaphore>,
    next: Arc<Semaphore>,
}

/// There is no place to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Full;

/// What a piece of work holds until it is done.
struct Held {
    _admission: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    _core: OwnedSemaphorePermit,
}

impl Workers {
    /// With room for `waiting` pieces of each client's work beside those that run.
    pub(crate) fn new(waiting: usize) -> Self {
        let num_cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            admission: num_cores + waiting,
            cores: Arc::new(Semaphore::new(2 * num_cores)),
            num_cores,
            turns: Arc::default(),
        }
    }

    /// Runs `work` once a core is free. It is no longer wanted when this future is dropped, or after a
    /// time.
    ///
    /// # Errors
    ///
    /// [`Full`] when too many of the client's wait; inside of it the error of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: ClientId,
        work: impl FnOnce(&Wanted) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<Result<T, ApiError>, Full> {
        let turn = self.turn(client);
        let Ok(admission) = turn.admission.try_acquire_owned() else {
            return Err(Full);
        };
        let never_closed = "the semaphores are never closed";
        let turn = turn.next.acquire_owned().await.expect(never_closed);
        let cores = Arc::clone(&self.cores);
        let held = Held {
            _admission: admission,
            _turn: turn,
            _core: cores.acquire_owned().await.expect(never_closed),
        };
        let wanted = Wanted::within(TIME_LIMIT);
        let still = wanted.clone();
        // Dropped with this future: whoever has gone wants nothing more.
        let _asks = wanted.until_dropped();
        let span = Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _held_until_done = held;
            span.in_scope(|| work(&still))
        });
        Ok(task.await.unwrap_or_else(|error| {
            Err(ApiError::internal(format!(
                "A task of the server failed: {error}."
            )))
        }))
    }

    /// The client's own places. There are as many clients as keys.
    fn turn(&self, client: ClientId) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(client).or_insert_with(|| Turn {
            admission: Arc::new(Semaphore::new(self.admission)),
            next: Arc::new(Semaphore::new(self.num_cores)),
        });
        turn.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_client_waits_for_no_more_of_anothers_work_than_there_are_cores() {
        let workers = Workers::new(100);
        let (first, second) = (ClientId(1), ClientId(2));
        let (done, order) = mpsc::channel();
        let piece = |client: ClientId| {
            let (workers, done) = (workers.clone(), done.clone());
            async move {
                let work = move |_: &Wanted| {
                    std::thread::sleep(Duration::from_millis(5));
                    let _ = done.send(client);
                    Ok(())
                };
                workers.run(client, work).await.unwrap().unwrap();
            }
        };
        let many = (0..50)
            .map(|_| tokio::spawn(piece(first)))
            .collect::<Vec<_>>();
        tokio::task::yield_now().await;
        piece(second).await;
        let before = order.try_iter().filter(|client| *client == first).count();
        assert!(
            before <= 2 * workers.num_cores,
            "{before} pieces came first"
        );
        for task in many {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn work_is_told_that_its_client_has_gone_and_a_place_is_free_again() {
        let workers = Workers::new(0);
        let (told, news) = mpsc::channel();
        let waits = move |wanted: &Wanted| {
            while wanted.check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            told.send(()).unwrap();
            Ok(())
        };
        let run = workers.run(ClientId::ANYBODY, waits);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), run)
                .await
                .is_err()
        );
        news.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
