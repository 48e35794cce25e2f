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

/// Why a persona is not changed. Both are sentences for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonaEditError {
    /// The card is wrong, or does not fit here.
    Card(String),
    /// The server cannot do it. Its log says more.
    Server(String),
}

/// What clients may do to the personas of a server, where its owner lets them. What has begun is done,
/// whether anybody waits for it or not.
pub trait PersonaManagement: Send + Sync + 'static {
    /// The names of those that can be changed.
    fn names(&self) -> Vec<String>;

    /// Serves the persona of a card, in any of their formats. Gives its name.
    fn add(
        &self,
        card: Vec<u8>,
        file_name: String,
    ) -> BoxFuture<'static, Result<String, PersonaEditError>>;

    /// The card of a persona as JSON of V3.
    fn card(&self, name: String) -> BoxFuture<'static, Result<String, PersonaEditError>>;

    /// Puts another card, in JSON, in the place of a persona's; its picture stays. Gives its name, which
    /// may be another.
    fn replace(
        &self,
        name: String,
        card: Vec<u8>,
    ) -> BoxFuture<'static, Result<String, PersonaEditError>>;

    /// Deletes a persona.
    fn remove(&self, name: String) -> BoxFuture<'static, Result<(), PersonaEditError>>;
}

impl From<PersonaEditError> for ApiError {
    fn from(error: PersonaEditError) -> Self {
        match error {
            PersonaEditError::Card(message) => Self::bad_request(message),
            PersonaEditError::Server(message) => Self::internal(message),
        }
    }
}

/// What a client is told that may not change personas.
pub(crate) fn personas_forbidden() -> ApiError {
    ApiError::forbidden(
        "The personas of this server are its owner's affair. Start it with \
         `--allow-persona-editing` to let clients add, change and delete them.",
    )
}

/// What a client is told that may not do it.
pub(crate) fn forbidden() -> ApiError {
    ApiError::forbidden(
        "Models and adapters of this machine are its owner's affair: `matou pull` fetches models, and \
         `--lora` serves adapters. Start the server with `--allow-model-management` to let clients do it.",
    )
}
