//! Adapters that models are served with, each under a name of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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
    stamps: Vec<Stamp>,
}

/// A file, its length and when it was changed.
type Stamp = (PathBuf, Option<(u64, SystemTime)>);

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

/// What is said to whoever wants an adapter of a model that can have none.
pub(super) fn no_adapters(model: &str) -> LlmError {
    let message = format!(
        "The model `{model}` takes no adapters: adapters are applied on the CPU only (serve it with \
         --device cpu)."
    );
    LlmError::invalid("model", message)
}

/// What tells whether files are still the same: of a folder, those in it.
fn stamps(path: &Path) -> Vec<Stamp> {
    /// More files than a folder with an adapter has.
    const MAX_FILES: usize = 256;
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = inside.map(|entry| entry.path()).take(MAX_FILES).collect();
    files.push(path.to_owned());
    files.sort();
    let stamp = |path: PathBuf| {
        let about = std::fs::metadata(&path).ok();
        let about = about.and_then(|about| Some((about.len(), about.modified().ok()?)));
        (path, about)
    };
    files.into_iter().map(stamp).collect()
}

/// An adapter, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterStatus {
    /// Its name in the API.
    pub name: String,
    /// The name of the model that it belongs to.
    pub base: String,
    /// What its folder or file is called.
    pub folder: String,
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
    /// Who loads it, so that nobody does so at the same time; and how that failed.
    turn: Arc<tokio::sync::Mutex<Option<Failure>>>,
}

/// Why an adapter could not be loaded, when, and as what files it had then.
struct Failure {
    error: LlmError,
    at: Instant,
    stamps: Vec<Stamp>,
}

/// How long an adapter that could not be loaded is left alone, unless its files change.
const PAUSE: Duration = Duration::from_secs(5);

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
            turn: Arc::default(),
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
        let Some(targets) = llm.engine().adapter_targets() else {
            return Err(no_adapters(llm.name()));
        };
        if let Some(adapter) = self.loaded(targets) {
            return Ok(adapter);
        }
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(adapter) = self.loaded(targets) {
            return Ok(adapter);
        }
        if let Some(failure) = &*turn
            && failure.at.elapsed() < PAUSE
            && failure.stamps == stamps(&self.config.path)
        {
            return Err(failure.error.clone());
        }
        let (own, targets) = (Arc::clone(self), Arc::clone(targets));
        let llm = Arc::clone(llm);
        // The turn goes with the work: whoever asked may be gone before that is done.
        let load = move || {
            let loaded = own.load(&targets, &llm);
            *turn = loaded.as_ref().err().map(|error| Failure {
                error: error.clone(),
                at: Instant::now(),
                stamps: stamps(&own.config.path),
            });
            loaded
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.unwrap_or_else(|panic| Err(LlmError::internal(panic.to_string())))
    }

    /// Loads the adapter. Blocks.
    fn load(&self, targets: &AdapterTargets, llm: &Llm) -> Result<Arc<Adapter>, LlmError> {
        let name = self.config.name();
        let adapter = self.open(targets).map_err(|error| {
            let message = format!(
                "The adapter `{name}` cannot be used with the model `{}`: {error}.",
                llm.name()
            );
            LlmError::unavailable(message, None)
        })?;
        tracing::info!(
            adapter = name,
            model = llm.name(),
            bytes = adapter.bytes(),
            rank = adapter.rank(),
            "adapter loaded"
        );
        let adapter = Arc::new(adapter);
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&adapter));
        // Its model may have gone meanwhile, if whoever asked has.
        if llm.engine().has_ended() {
            self.let_go();
        }
        Ok(adapter)
    }

    fn open(&self, targets: &AdapterTargets) -> Result<Adapter, ModelError> {
        let files = AdapterFiles::open(&self.config.path)?;
        let (planned, needed) = (self.config.bytes, files.memory_bytes());
        if needed > planned {
            return Err(ModelError::InvalidFile {
                path: self.config.path.clone(),
                message: format!(
                    "it has changed: it takes {} now, and {} were planned for; load it anew",
                    human_bytes(needed),
                    human_bytes(planned)
                ),
            });
        }
        targets.load(&files)
    }
}
