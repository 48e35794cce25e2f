//! What a server keeps for its clients: conversations, responses, and who is signed in.

use std::sync::Arc;
use std::time::Duration;

use matou_history::{History, HistoryError};
use tokio::sync::Semaphore;

use crate::access::{Links, SignIns};
use crate::dialects::{ResponseStore, Runs};
use crate::error::ApiError;

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

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        let message = error.to_string();
        let mut letters = message.chars();
        let first = letters.next().map(char::to_uppercase);
        let sentence: String = first.into_iter().flatten().chain(letters).collect();
        match error {
            HistoryError::NotFound { .. } => Self::not_found("id", format!("{sentence}.")),
            HistoryError::Invalid { field, .. } => Self::invalid(field, format!("{sentence}.")),
            HistoryError::TooMuch { .. } => Self::bad_request(format!("{sentence}.")),
            HistoryError::Full { .. } => Self::storage_full(),
            HistoryError::Locked { .. } => Self::overloaded(
                "The history is in use by another program; try again.",
                Duration::from_secs(1),
            ),
            // Paths of the machine are its owner's affair.
            error => {
                tracing::error!("history: {error}");
                Self::internal("The history cannot be read or written; the server's log says why.")
            }
        }
    }
}
