//! What this dialect has of the server.

use std::sync::Arc;

use axum::extract::FromRef;
use matou_history::{Detail, History, HistoryError, Message, Owner, State, WholeConversation};

use tokio::sync::Semaphore;

use super::run::Runs;
use crate::blocking::blocking;
use crate::door::Door;
use crate::error::ApiError;
use crate::limits::Limits;
use crate::state::AppState;

/// What this dialect has of the server.
#[derive(Clone)]
pub(super) struct HistoryState {
    history: Option<History>,
    places: Arc<Semaphore>,
    pub(super) exports: Arc<Semaphore>,
    pub(super) runs: Runs,
    pub(super) door: Door,
    pub(super) limits: Limits,
}

impl FromRef<AppState> for HistoryState {
    fn from_ref(state: &AppState) -> Self {
        let shelf = &state.shelf;
        Self {
            history: shelf.keeps_history.then(|| shelf.history.clone()),
            places: Arc::clone(&shelf.places),
            exports: Arc::clone(&shelf.exports),
            runs: shelf.runs.clone(),
            door: Door::from_ref(state),
            limits: state.limits.clone(),
        }
    }
}

impl HistoryState {
    /// Unix time, in seconds.
    pub(super) fn now(&self) -> u64 {
        self.door.services.now()
    }

    /// Does something with what is kept, off the async workers.
    ///
    /// # Errors
    ///
    /// When nothing is kept here, and the error of `work`.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let history = self.history()?;
        // It is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let done = blocking(move || {
            let _place = place;
            work(&history)
        });
        Ok(done.await??)
    }

    /// What is kept.
    ///
    /// # Errors
    ///
    /// When nothing is kept here.
    pub(super) fn history(&self) -> Result<History, ApiError> {
        self.history.clone().ok_or_else(ApiError::history_off)
    }

    /// A conversation with its messages as they are now.
    ///
    /// # Errors
    ///
    /// When it is not there, and as of [`with`](Self::with).
    pub(super) async fn whole(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<WholeConversation, ApiError> {
        let before = self.runs.running(owner);
        let (of, wanted) = (owner.clone(), id.to_owned());
        let whole = self.with(move |history| history.whole(&of, &wanted));
        let mut whole = whole.await?.ok_or_else(|| no_conversation(id))?;
        let after = self.runs.running(owner);
        for message in &mut whole.messages {
            as_it_is(message, &before, &after);
        }
        Ok(whole)
    }

    /// A message as it is now, with all that belongs to it.
    ///
    /// # Errors
    ///
    /// When it is not there, and as of [`with`](Self::with).
    pub(super) async fn detail(
        &self,
        owner: &Owner,
        id: &str,
        message: &str,
    ) -> Result<Detail, ApiError> {
        let before = self.runs.running(owner);
        let (of, id, wanted) = (owner.clone(), id.to_owned(), message.to_owned());
        let detail = self.with(move |history| history.message(&of, &id, &wanted));
        let mut detail = detail.await?.ok_or_else(|| no_message(message))?;
        as_it_is(&mut detail.message, &before, &self.runs.running(owner));
        Ok(detail)
    }
}

/// Tells how far a message is that was read between two looks at what is being written. What is kept as
/// being written, and was not, was cut off when a server ended.
fn as_it_is(message: &mut Message, before: &[String], after: &[String]) {
    let is_in = |running: &[String]| running.contains(&message.id);
    message.state = match message.state {
        State::Running if !is_in(before) && !is_in(after) => State::Interrupted,
        // It is gone on with.
        _ if is_in(after) => State::Running,
        state => state,
    };
}

/// What is said where the client has no such conversation.
pub(super) fn no_conversation(id: &str) -> ApiError {
    ApiError::not_found("id", format!("There is no conversation with id '{id}'."))
}

/// What is said where the conversation has no such message.
pub(super) fn no_message(id: &str) -> ApiError {
    ApiError::not_found("message", format!("There is no message with id '{id}'."))
}
