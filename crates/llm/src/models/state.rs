//! What is known of all models at a time, and of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use matou_engine::{EngineStats, EngineThread};

use super::keep_alive::KeepAlive;
use super::residency::{ModelId, Phase, Residency};
use super::shares::TooLarge;
use super::source::{LoadProgress, ModelFacts, Source};
use crate::error::LlmError;
use crate::llm::Llm;
use crate::open::human_bytes;

/// How long a model that could not be loaded is left alone: at first, and at most.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

pub(super) struct State {
    pub(super) residency: Residency,
    pub(super) models: Vec<Model>,
    /// Those that are served, in order; the first is the default.
    pub(super) served: Vec<ModelId>,
    pub(super) names: HashMap<String, ModelId>,
    pub(super) any_name: bool,
    pub(super) max_queue_len: usize,
    pub(super) is_stopping: bool,
    /// When to look again, at the earliest.
    pub(super) alarm: Option<Duration>,
}

pub(super) struct Model {
    pub(super) facts: Arc<ModelFacts>,
    /// None for one that was brought along, in memory.
    pub(super) source: Option<Arc<dyn Source>>,
    /// Why it can never be loaded.
    pub(super) too_large: Option<TooLarge>,
    pub(super) keep_alive: KeepAlive,
    pub(super) running: Option<Running>,
    pub(super) failure: Option<Failure>,
    pub(super) progress: Arc<LoadProgress>,
    pub(super) counted: Option<EngineStats>,
    pub(super) loads: u64,
}

pub(super) struct Running {
    pub(super) llm: Arc<Llm>,
    pub(super) thread: Option<EngineThread>,
}

/// Why a model was not loaded.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) until: Duration,
    pub(super) pause: Duration,
}

impl State {
    pub(super) fn new(memory: u64, any_name: bool, max_queue_len: usize) -> Self {
        Self {
            residency: Residency::new(memory),
            models: Vec::new(),
            served: Vec::new(),
            names: HashMap::new(),
            any_name,
            max_queue_len,
            is_stopping: false,
            alarm: None,
        }
    }

    /// Serves these models, and no others, by their names.
    pub(super) fn serve(&mut self, served: Vec<ModelId>) {
        self.names.clear();
        for &id in &served {
            for name in &self.models[id].facts.names {
                self.names.entry(name.clone()).or_insert(id);
            }
        }
        self.served = served;
    }

    /// The model of this name; the first one for a request that names none.
    pub(super) fn find(&self, name: Option<&str>) -> Result<ModelId, LlmError> {
        let first = self.served.first().copied();
        let found = match name {
            None | Some("") => first,
            Some(name) => {
                let known = |name: &str| self.names.get(name).copied();
                // Ollama's clients name the tag that nobody named.
                let untagged = || name.strip_suffix(":latest").and_then(known);
                let named = known(name).or_else(untagged);
                named.or(first.filter(|_| self.any_name))
            }
        };
        found.ok_or_else(|| self.unknown(name.unwrap_or_default()))
    }

    pub(super) fn unknown(&self, name: &str) -> LlmError {
        let names = self
            .served
            .iter()
            .flat_map(|id| &self.models[*id].facts.names);
        let names: Vec<String> = names.cloned().collect();
        LlmError::model_not_found(name, &names)
    }

    pub(super) fn brought(&self) -> Option<Arc<Llm>> {
        let mut brought = self.models.iter().filter(|model| model.source.is_none());
        let running = brought.find_map(|model| model.running.as_ref());
        running.map(|running| Arc::clone(&running.llm))
    }

    /// Why a model cannot be had, if it cannot: it does not fit, or it failed a short while ago.
    pub(super) fn refusal(&self, id: ModelId, now: Duration) -> Option<LlmError> {
        if self.is_stopping {
            return Some(LlmError::shutting_down());
        }
        let model = &self.models[id];
        // One on its way out because it failed is left alone like one that is out.
        if matches!(self.residency.phase(id), Phase::Loading | Phase::Resident) {
            return None;
        }
        let name = &model.facts.names[0];
        if let Some(reason) = &model.too_large {
            let message = format!("The model `{name}` does not fit: {reason}.");
            return Some(LlmError::unavailable(message, None));
        }
        let (needed, room) = (self.residency.bytes(id), self.residency.room_for(id));
        if needed > room {
            let message = format!(
                "The model `{name}` does not fit: it takes {} of memory, and {} of {} are left beside \
                 the models that are pinned.",
                human_bytes(needed),
                human_bytes(room),
                human_bytes(self.residency.budget()),
            );
            return Some(LlmError::unavailable(message, None));
        }
        let failure = model
            .failure
            .as_ref()
            .filter(|failure| failure.until > now)?;
        let message = format!("The model `{name}` cannot be loaded: {}.", failure.reason);
        Some(LlmError::unavailable(message, Some(failure.until - now)))
    }
}

impl Model {
    pub(super) fn new(
        facts: Arc<ModelFacts>,
        source: Option<Arc<dyn Source>>,
        keep_alive: KeepAlive,
    ) -> Self {
        Self {
            facts,
            source,
            too_large: None,
            keep_alive,
            running: None,
            failure: None,
            progress: Arc::default(),
            counted: None,
            loads: 0,
        }
    }
}

impl Model {
    pub(super) fn fail(&mut self, reason: &str, now: Duration) {
        let (first, most) = PAUSE;
        let pause = self
            .failure
            .as_ref()
            .map_or(first, |last| most.min(2 * last.pause));
        self.failure = Some(Failure {
            reason: reason.to_owned(),
            until: now + pause,
            pause,
        });
    }
}
