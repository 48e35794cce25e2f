//! Adapters that models are served with, each under a name of its own.

use std::sync::{Arc, Mutex, PoisonError};

use matou_model::{Adapter, AdapterFiles, AdapterTargets};

use super::residency::ModelId;
use crate::error::LlmError;
use crate::llm::Llm;

/// An adapter, and what it is called.
#[derive(Debug, Clone)]
pub struct AdapterConfig {
    /// Its name in the API.
    pub name: String,
    /// Its files, whose headers have been read.
    pub files: Arc<AdapterFiles>,
}

/// An adapter, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterStatus {
    /// Its name in the API.
    pub name: String,
    /// The name of the model that it belongs to.
    pub base: String,
    /// Where its files are.
    pub path: String,
    /// Unix time since when it is served, in seconds.
    pub created: u64,
    /// Memory that it takes, in bytes.
    pub memory: u64,
    /// Whether it is in memory.
    pub is_loaded: bool,
}

/// An adapter that is served.
pub(super) struct ServedAdapter {
    pub(super) config: AdapterConfig,
    pub(super) base: ModelId,
    pub(super) created: u64,
    /// Whether it is in the configuration, and not there by a request.
    pub(super) is_configured: bool,
    /// Memory that is set aside for it.
    pub(super) bytes: u64,
    loaded: Mutex<Option<Arc<Adapter>>>,
    /// Who loads it, so that nobody does so at the same time.
    turn: tokio::sync::Mutex<()>,
}

impl ServedAdapter {
    pub(super) fn new(
        config: AdapterConfig,
        base: ModelId,
        created: u64,
        is_configured: bool,
    ) -> Self {
        Self {
            bytes: config.files.memory_bytes(),
            config,
            base,
            created,
            is_configured,
            loaded: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The adapter in memory, if it is there for a model with these targets.
    pub(super) fn loaded(&self, targets: &AdapterTargets) -> Option<Arc<Adapter>> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clone().filter(|adapter| targets.fit(adapter))
    }

    /// Lets go of its memory, once no request has it any more.
    pub(super) fn let_go(&self) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it is in memory.
    pub(super) fn is_loaded(&self) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.is_some()
    }

    /// The adapter in memory, for `llm`; loaded if it is not there yet.
    ///
    /// # Errors
    ///
    /// When it does not fit the model, or its files have changed for the worse.
    pub(super) async fn of(self: &Arc<Self>, llm: &Arc<Llm>) -> Result<Arc<Adapter>, LlmError> {
        let name = &self.config.name;
        let Some(targets) = llm.engine().adapter_targets() else {
            let message = format!("The model `{}` takes no adapters.", llm.name());
            return Err(LlmError::invalid("model", message));
        };
        if let Some(adapter) = self.loaded(targets) {
            return Ok(adapter);
        }
        let _turn = self.turn.lock().await;
        if let Some(adapter) = self.loaded(targets) {
            return Ok(adapter);
        }
        let (own, targets) = (Arc::clone(self), Arc::clone(targets));
        let load = move || {
            let adapter = Arc::new(targets.load(&own.config.files)?);
            *own.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&adapter));
            Ok(adapter)
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let refused = |reason: String| {
            let message = format!(
                "The adapter `{name}` cannot be used with the model `{}`: {reason}.",
                llm.name()
            );
            LlmError::unavailable(message, None)
        };
        match loaded {
            Ok(Ok(adapter)) => {
                tracing::info!(
                    adapter = name,
                    model = llm.name(),
                    bytes = adapter.bytes(),
                    rank = adapter.rank(),
                    "adapter loaded"
                );
                Ok(adapter)
            }
            Ok(Err(error)) => {
                let error: matou_model::ModelError = error;
                Err(refused(error.to_string()))
            }
            Err(panic) => Err(refused(panic.to_string())),
        }
    }
}
