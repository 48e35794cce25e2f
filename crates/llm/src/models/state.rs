//! What is known of all models at a time, and of each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use matou_engine::{EngineStats, EngineThread};

use matou_persona::Persona;

use super::adapters::{AdapterStatus, ServedAdapter};
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
    pub(super) adapters: Vec<Arc<ServedAdapter>>,
    pub(super) personas: Vec<Arc<Persona>>,
    persona_names: HashMap<String, usize>,
    /// What personas are always told, as tokens of their models.
    pub(super) prefixes: HashMap<(String, ModelId), Arc<[u32]>>,
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

/// What a name means.
pub(super) struct Found {
    pub(super) id: ModelId,
    pub(super) adapter: Option<Arc<ServedAdapter>>,
    pub(super) persona: Option<Arc<Persona>>,
}

impl Found {
    fn model(id: ModelId) -> Self {
        Self {
            id,
            adapter: None,
            persona: None,
        }
    }
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
            adapters: Vec::new(),
            personas: Vec::new(),
            persona_names: HashMap::new(),
            prefixes: HashMap::new(),
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

    /// The model that a name means; the first one for a request that names none.
    pub(super) fn find(&self, name: Option<&str>) -> Result<ModelId, LlmError> {
        self.resolve(name).map(|found| found.id)
    }

    /// What a name means: a model, with an adapter or not, as itself or as a persona.
    pub(super) fn resolve(&self, name: Option<&str>) -> Result<Found, LlmError> {
        let first = self.served.first().copied();
        let found = match name {
            None | Some("") => first.map(Found::model),
            Some(name) => {
                // Ollama's clients name the tag that nobody named.
                let untagged = name.strip_suffix(":latest");
                let mut names = [Some(name), untagged].into_iter().flatten();
                match names.find_map(|name| self.named(name)) {
                    Some(found) => Some(found?),
                    None => first.filter(|_| self.any_name).map(Found::model),
                }
            }
        };
        found.ok_or_else(|| self.unknown(name.unwrap_or_default()))
    }

    fn named(&self, name: &str) -> Option<Result<Found, LlmError>> {
        if let Some(found) = self.model_or_adapter(name) {
            return Some(Ok(found));
        }
        let persona = self.persona_names.get(name)?;
        Some(self.spoken_for(&self.personas[*persona]))
    }

    /// A persona, and what speaks for it.
    pub(super) fn spoken_for(&self, persona: &Arc<Persona>) -> Result<Found, LlmError> {
        let base = match persona.model() {
            Some(base) => self.model_or_adapter(base),
            None => self.served.first().copied().map(Found::model),
        };
        let missing = || {
            let message = format!(
                "The persona `{}` speaks with the model `{}`, which is not served here.",
                persona.id(),
                persona.model().unwrap_or_default()
            );
            LlmError::unavailable(message, None)
        };
        base.ok_or_else(missing).map(|found| Found {
            persona: Some(Arc::clone(persona)),
            ..found
        })
    }

    /// Serves these personas, and no others, by their ids and by their names.
    pub(super) fn set_personas(&mut self, personas: Vec<Arc<Persona>>) {
        self.persona_names.clear();
        self.prefixes.clear();
        let all = || personas.iter().enumerate();
        let ids = all().map(|(place, persona)| (persona.id(), place));
        // An id comes before another's name.
        for (name, place) in ids.chain(all().map(|(place, persona)| (persona.name(), place))) {
            self.persona_names.entry(name.to_owned()).or_insert(place);
        }
        self.personas = personas;
    }

    fn model_or_adapter(&self, name: &str) -> Option<Found> {
        if let Some(id) = self.names.get(name) {
            return Some(Found::model(*id));
        }
        let adapter = self.adapter(name)?;
        Some(Found {
            adapter: Some(Arc::clone(adapter)),
            ..Found::model(adapter.base)
        })
    }

    /// Whether anything has this very name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    pub(super) fn adapter(&self, name: &str) -> Option<&Arc<ServedAdapter>> {
        let mut adapters = self.adapters.iter();
        adapters.find(|adapter| adapter.config.name() == name)
    }

    /// The adapters of a model.
    pub(super) fn adapters_of(&self, id: ModelId) -> impl Iterator<Item = &Arc<ServedAdapter>> {
        self.adapters
            .iter()
            .filter(move |adapter| adapter.base == id)
    }

    /// Has the residency know what a model and its adapters take.
    pub(super) fn recount(&mut self, id: ModelId) {
        let adapters: u64 = self
            .adapters_of(id)
            .map(|adapter| adapter.config.memory_bytes())
            .sum();
        let bytes = self.models[id].facts.memory.saturating_add(adapters);
        self.residency.set_bytes(id, bytes);
    }

    /// Drops adapters that requests brought whose name the configuration gives to another, of `served`
    /// models or their adapters.
    pub(super) fn drop_shadowed_adapters(&mut self, served: &[ModelId]) {
        let models = served
            .iter()
            .flat_map(|id| self.models[*id].facts.names.iter().cloned());
        let configured = self.adapters.iter().filter(|adapter| adapter.is_configured);
        let configured = configured.map(|adapter| adapter.config.name().to_owned());
        let taken: HashSet<String> = models.chain(configured).collect();
        let is_shadowed =
            |it: &mut Arc<ServedAdapter>| !it.is_configured && taken.contains(it.config.name());
        let dropped: Vec<Arc<ServedAdapter>> = self.adapters.extract_if(.., is_shadowed).collect();
        for adapter in dropped {
            let name = adapter.config.name();
            tracing::warn!(
                adapter = name,
                "goes: the configuration gives its name to another"
            );
            adapter.let_go();
            self.recount(adapter.base);
        }
    }

    pub(super) fn adapter_status(&self, adapter: &ServedAdapter) -> AdapterStatus {
        AdapterStatus {
            name: adapter.config.name().to_owned(),
            base: self.models[adapter.base].facts.names[0].clone(),
            folder: adapter
                .config
                .path()
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            created: adapter.created,
            memory: adapter.config.memory_bytes(),
            is_loaded: adapter.is_loaded(),
        }
    }

    pub(super) fn unknown(&self, name: &str) -> LlmError {
        let models = self.served.iter();
        let models = models.flat_map(|id| self.models[*id].facts.names.iter().map(String::as_str));
        let adapters = self.adapters.iter().map(|adapter| adapter.config.name());
        let personas = self.personas.iter().map(|persona| persona.id());
        let names: Vec<String> = models
            .chain(adapters)
            .chain(personas)
            .map(str::to_owned)
            .collect();
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
