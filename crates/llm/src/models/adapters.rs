//! Adapters that models are served with, each under a name of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use matou_model::{Adapter, AdapterFiles, AdapterTargets, ModelError};

use super::residency::ModelId;
use crate::error::LlmError;
use crate::llm::Llm;
use crate::open::human_bytes;

/// An adapter, and what it is called: as its headers have it. Its files are opened again when it is
/// loaded, for they may be replaced meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterConfig {
    name: String,
    path: PathBuf,
    base: Option<String>,
    bytes: u64,
    /// Length and time of change of each of its files.
    stamps: Vec<Option<(u64, SystemTime)>>,
}

impl AdapterConfig {
    /// Reads the headers of an adapter, which is to have this name in the API. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none that can be applied.
    pub fn open(name: String, path: &Path) -> Result<Self, ModelError> {
        let files = AdapterFiles::open(path)?;
        Ok(Self {
            name,
            base: files.base().map(str::to_owned),
            bytes: files.memory_bytes(),
            stamps: stamps(path),
            path: path.to_owned(),
        })
    }

    /// Its name in the API.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model that it was made for, as its files call it.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// Memory that it takes at most, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

/// What tells whether files are still the same.
fn stamps(path: &Path) -> Vec<Option<(u64, SystemTime)>> {
    let stamp = |path: &Path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.len(), about.modified().ok()?))
    };
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    let inside = files.iter().map(|file| stamp(&path.join(file)));
    std::iter::once(stamp(path)).chain(inside).collect()
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
            let files = AdapterFiles::open(&own.config.path)?;
            let (planned, needed) = (own.config.bytes, files.memory_bytes());
            if needed > planned {
                return Err(ModelError::InvalidFile {
                    path: own.config.path.clone(),
                    message: format!(
                        "it has changed: it takes {} now, and {} were planned for; load it anew",
                        human_bytes(needed),
                        human_bytes(planned)
                    ),
                });
            }
            let adapter = Arc::new(targets.load(&files)?);
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
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(panic) => Err(refused(panic.to_string())),
        }
    }
}
