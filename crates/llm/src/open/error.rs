//! Why a model cannot be opened.

use std::path::PathBuf;

use matou_chat::TextError;
use matou_engine::EngineError;
use matou_hub::{CatalogueError, HubError};
use matou_model::ModelError;
use thiserror::Error;

use super::fit::DoesNotFit;
use super::kv_plan::KvPlanError;
use super::memory::human_bytes;

/// A model that cannot be opened, in words for people.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A catalogue is wrong.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The files are not there and cannot be fetched.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The weights or their config cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer or the template cannot be used.
    #[error("cannot use the tokenizer of {}", path.display())]
    Text {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// The model does not fit into memory.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    /// There is no room for a KV cache.
    #[error(transparent)]
    KvPlan(#[from] KvPlanError),
    /// The file is another than when memory was planned for it.
    #[error(
        "{} has changed since the server looked at it: it takes {} now and not {}. Restart the server, \
         or send it SIGHUP", path.display(), human_bytes(*needed), human_bytes(*planned)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes that it was to take.
        planned: u64,
        /// Bytes that it would take.
        needed: u64,
    },
    /// The files are made for measuring only.
    #[error(
        "{name} has no tokenizer, so it can neither chat nor be served: use `matou bench` to measure it"
    )]
    NoTokenizer {
        /// The model.
        name: String,
    },
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Loading has panicked: a fault of ours.
    #[error("loading the model failed: {0}")]
    Panicked(String),
}

impl OpenError {
    /// A context was asked for that the model was not made for.
    pub(crate) fn beyond_model(requested: usize, model_max_len: usize) -> Self {
        Self::KvPlan(KvPlanError::BeyondModel {
            requested,
            model_max_len,
        })
    }
}
