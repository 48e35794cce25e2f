//! What a server keeps for its clients: conversations, responses, and who is signed in.

use std::sync::Arc;

use matou_history::History;
use tokio::sync::Semaphore;

use crate::access::{Links, SignIns};
use crate::dialects::{ResponseStore, Runs};

/// What a server keeps for its clients.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) history: History,
    /// Whether conversations are kept, and what else is outlives the server.
    pub(crate) keeps_history: bool,
    pub(crate) sign_ins: SignIns,
    pub(crate) links: Links,
    pub(crate) responses: Arc<ResponseStore>,
    pub(crate) runs: Runs,
    /// So many requests use the history at a time: others wait without a thread.
    pub(crate) places: Arc<Semaphore>,
    /// So many exports run at a time: each holds a thread for as long as its reader takes.
    pub(crate) exports: Arc<Semaphore>,
}

/// Requests that use the history at a time, and exports that run.
const PLACES: (usize, usize) = (8, 4);

impl Shelf {
    /// One that keeps everything in this file.
    pub(crate) fn of(history: History) -> Self {
        match history.interrupt_running() {
            Ok(0) => {}
            Ok(answers) => {
                tracing::info!(answers, "answers were cut off by the last end of a server")
            }
            Err(error) => tracing::warn!("answers that were cut off are not found: {error}"),
        }
        let responses = ResponseStore::kept_in(history.clone());
        Self::with(history, true, responses)
    }

    /// One that forgets everything with the server, and keeps no conversations.
    pub(crate) fn in_memory() -> Self {
        let history = History::in_memory().expect("a database in memory needs nothing but that");
        Self::with(history, false, ResponseStore::default())
    }

    fn with(history: History, keeps_history: bool, responses: ResponseStore) -> Self {
        Self {
            sign_ins: SignIns::of(history.clone()),
            history,
            keeps_history,
            links: Links::default(),
            responses: Arc::new(responses),
            runs: Runs::default(),
            places: Arc::new(Semaphore::new(PLACES.0)),
            exports: Arc::new(Semaphore::new(PLACES.1)),
        }
    }
}
