//! Several models in one process: which are in memory, and who waits for which.
//!
//! ```text
//! Inspected (headers) ──shares──▶ Models ──acquire(name)──▶ Lease ──▶ Llm
//!                                   │                         └ dropped: the model may go again
//!                                   └─ residency decides, load and unload are done here
//! ```
//!
//! One budget of memory, one pool of threads and one schedule of steps ([`matou_engine::Turns`]) are shared by all.
//! What a model takes is known from its header before it is loaded (`shares`); what is loaded next
//! and what has to go for it is a pure calculation (`residency`). A model that cannot be loaded fails
//! the requests for it and no others, and is tried again after a pause.

mod adapters;
mod config;
mod held;
mod inner;
mod keep_alive;
mod names;
mod residency;
mod served;
mod shares;
mod source;
mod state;
mod variants;
mod view;

use std::sync::Arc;
use std::time::Duration;

use matou_engine::{ClientId, EngineThread};

use crate::error::LlmError;
use crate::llm::Llm;
pub use adapters::{AdapterConfig, AdapterStatus};
pub use config::{ModelConfig, ModelsOptions};
pub use held::Lease;
use inner::{Inner, Place};
pub use keep_alive::{InvalidKeepAlive, KeepAlive};
pub use names::ServedName;
use residency::Phase;
pub use shares::TooLarge;
pub use source::{Inspected, ModelFacts, ModelSpec, TextFacts};
use state::{Model, Running, State};
pub use view::{ModelState, ModelStatus};

/// What each of these models will take in all and for keys and values, in bytes, and its longest
/// context; or why it does not fit.
pub fn plan(
    models: &[ModelConfig],
    options: &ModelsOptions,
) -> Vec<Result<(u64, u64, usize), TooLarge>> {
    let needs: Vec<_> = models.iter().map(ModelConfig::needs).collect();
    let shares = shares::share_out(options.memory, options.kv_cache_part, &needs);
    let told = shares
        .into_iter()
        .map(|share| share.map(|share| (share.total, share.kv_cache, share.max_model_len)));
    told.collect()
}

/// Models by name, of which some are in memory. Cheap to clone.
#[derive(Clone)]
pub struct Models(Arc<Inner>);

impl Models {
    /// One model, in memory for good.
    pub fn of(llm: Llm) -> Self {
        let (info, config) = (llm.engine().model_info(), llm.engine().config());
        let facts = ModelFacts {
            names: llm.card().names.clone(),
            architecture: info.architecture.clone(),
            quantization: info.quantization.clone(),
            parameters: info.parameters,
            vocab_size: info.vocab_size,
            hidden_size: info.hidden_size,
            num_layers: info.num_layers,
            weight_bytes: info.weight_bytes,
            memory: info.weight_bytes,
            max_model_len: config.max_model_len,
            device: llm.place().map_or("CPU", |place| place.name()).to_owned(),
            device_kind: llm.place().map_or("cpu", |place| place.kind()),
            created: llm.card().created,
            fingerprint: llm.card().fingerprint.clone(),
        };
        let mut state = State::new(u64::MAX, false, config.max_queue_len);
        let id = state.residency.add(info.weight_bytes, true);
        state.residency.loaded(id, Duration::ZERO);
        let running = Running {
            llm: Arc::new(llm),
            thread: None,
        };
        state.models.push(Model {
            running: Some(running),
            loads: 1,
            ..Model::new(Arc::new(facts), None, KeepAlive::Forever)
        });
        state.serve(vec![id]);
        Self(Arc::new(Inner::new(state)))
    }

    /// These models, none of them in memory yet. The first is what requests get that name none.
    pub fn new(models: Vec<ModelConfig>, options: &ModelsOptions) -> Self {
        let state = State::new(options.memory, options.any_name, options.max_queue_len);
        let inner = Inner::new(state);
        inner.set(models, options);
        Self(Arc::new(inner))
    }

    /// Serves these models from now on. One that is served already, and in the same way, stays where it
    /// is; what is no longer served goes when its requests have been answered.
    pub fn replace(&self, models: Vec<ModelConfig>, options: &ModelsOptions) {
        self.0.set(models, options);
        self.0.drive();
    }

    /// Lets a request in to the model of this name, or to the default, once it is in memory. As long as
    /// the [`Lease`] lives it stays there; then for `keep_alive`, or as it was configured.
    ///
    /// # Errors
    ///
    /// When there is no such model, when it does not fit, when it could not be loaded, and when too
    /// many of the client's requests wait for it.
    pub async fn acquire(
        &self,
        name: Option<&str>,
        client: ClientId,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Lease, LlmError> {
        let found = self.0.lock().resolve(name)?;
        let id = found.id;
        self.0.note_runtime();
        let mut place = Place {
            inner: &self.0,
            id,
            ticket: None,
        };
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(llm) = self.0.try_enter(&mut place, client)? {
                let lease = Lease::new(Arc::clone(&self.0), id, Arc::clone(&llm), keep_alive);
                let lease = lease.with_persona(found.persona);
                let Some(adapter) = found.adapter else {
                    return Ok(lease);
                };
                let loaded = adapter.of(&llm).await?;
                return Ok(lease.with_adapter(adapter.config.name(), loaded));
            }
            // An error would mean that nobody is left who could change anything; this holds one.
            let _ = changed.changed().await;
        }
    }

    /// Loads a model, and returns when it is there.
    ///
    /// # Errors
    ///
    /// As of [`acquire`](Self::acquire).
    pub async fn load(&self, name: Option<&str>) -> Result<(), LlmError> {
        self.acquire(name, ClientId::ANYBODY, None).await.map(drop)
    }

    /// Has a model go once its requests are answered; those that come meanwhile have it loaded again.
    /// Says whether it was in memory.
    ///
    /// # Errors
    ///
    /// When there is no such model, or it is not to go.
    pub fn unload(&self, name: Option<&str>) -> Result<bool, LlmError> {
        let mut state = self.0.lock();
        let id = state.find(name)?;
        let model = &state.models[id];
        if model.source.is_none() || state.residency.is_pinned(id) {
            let message = format!(
                "The model `{}` is pinned: it stays while the server runs.",
                model.facts.names[0]
            );
            return Err(LlmError::invalid("model", message));
        }
        let is_there = state.residency.phase(id) == Phase::Resident;
        state.residency.dismiss(id);
        drop(state);
        self.0.drive();
        Ok(is_there)
    }

    /// Changes how long a model stays that nobody uses, if it is in memory. Says whether it is.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn keep(&self, name: Option<&str>, keep_alive: KeepAlive) -> Result<bool, LlmError> {
        let mut state = self.0.lock();
        let id = state.find(name)?;
        let is_there = state.residency.phase(id) == Phase::Resident;
        if is_there {
            let now = self.0.now();
            state.residency.keep(id, keep_alive, now);
        }
        drop(state);
        self.0.drive();
        Ok(is_there)
    }

    /// Ends all engines: what is accepted is finished. Waits for their threads for so long at most.
    ///
    /// # Errors
    ///
    /// When an engine's thread has panicked.
    pub async fn shut_down(&self, patience: Duration) -> Result<(), String> {
        let running: Vec<Running> = {
            let mut state = self.0.lock();
            state.is_stopping = true;
            let models = state.models.iter_mut();
            models.filter_map(|model| model.running.take()).collect()
        };
        self.0.changed.send_replace(());
        for running in &running {
            running.llm.engine().shutdown();
        }
        let threads = running.into_iter().filter_map(|running| running.thread);
        let threads: Vec<EngineThread> = threads.collect();
        let join = tokio::task::spawn_blocking(move || {
            let ended = threads.into_iter().map(EngineThread::join);
            ended.filter(Result::is_err).count()
        });
        // What still computes for requests that were cut is not waited for.
        match tokio::time::timeout(patience, join).await {
            Ok(Ok(0)) | Err(_) => Ok(()),
            _ => Err("an engine thread panicked".to_owned()),
        }
    }

    /// Resolves when a model has ended that cannot be loaded again.
    pub async fn ended(&self) {
        let brought = self.0.lock().brought();
        match brought {
            Some(llm) => llm.engine().ended().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a model has ended that cannot be loaded again.
    pub fn have_ended(&self) -> bool {
        let brought = self.0.lock().brought();
        brought.is_some_and(|llm| llm.engine().has_ended())
    }
}

impl Models {
    /// All models, in order.
    pub fn list(&self) -> Vec<ModelStatus> {
        let state = self.0.lock();
        let now = self.0.now();
        let served = state.served.iter();
        served.map(|id| state.status(*id, now)).collect()
    }

    /// The model of this name, or the default.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn status(&self, name: Option<&str>) -> Result<ModelStatus, LlmError> {
        let state = self.0.lock();
        let id = state.find(name)?;
        Ok(state.status(id, self.0.now()))
    }

    /// The model of this name, or the default, if it is in memory.
    pub fn resident(&self, name: Option<&str>) -> Result<Option<Arc<Llm>>, LlmError> {
        let state = self.0.lock();
        let id = state.find(name)?;
        let running = state.models[id].running.as_ref();
        Ok(running.map(|running| Arc::clone(&running.llm)))
    }

    /// All models that are in memory.
    pub fn all_resident(&self) -> Vec<Arc<Llm>> {
        let state = self.0.lock();
        let running = state.models.iter().filter_map(|m| m.running.as_ref());
        running.map(|running| Arc::clone(&running.llm)).collect()
    }

    /// Memory in use or promised, and all that there may be, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.residency.used(), state.residency.budget())
    }

    /// What the text side of a model can do; it is read from its files if it is not in memory. Blocks.
    ///
    /// # Errors
    ///
    /// When there is no such model, or its files cannot be read.
    pub fn text(&self, name: Option<&str>) -> Result<TextFacts, LlmError> {
        let state = self.0.lock();
        let id = state.find(name)?;
        let model = &state.models[id];
        if let Some(running) = &model.running {
            let (llm, template) = (&running.llm, running.llm.template());
            let source = template.map(|template| template.source());
            return Ok(TextFacts::of(Some(llm.tokenizer()), source));
        }
        let source = model.source.clone();
        drop(state);
        let read = source.map(|source| source.text());
        read.unwrap_or_else(|| Ok(TextFacts::default()))
            .map_err(|error| {
                LlmError::unavailable(format!("The model cannot be read: {error}."), None)
            })
    }
}

#[cfg(test)]
mod tests;
