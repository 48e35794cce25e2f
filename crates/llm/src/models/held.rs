//! A model that a request holds in memory.

use std::ops::Deref;
use std::sync::Arc;

use matou_engine::SamplingParams;
use matou_model::Adapter;
use matou_persona::Persona;

use super::inner::Inner;
use super::keep_alive::KeepAlive;
use super::residency::ModelId;
use crate::llm::Llm;

/// A model that stays in memory as long as this, or a clone of it, lives.
#[derive(Clone)]
pub struct Lease {
    llm: Arc<Llm>,
    adapter: Option<(Arc<str>, Arc<Adapter>)>,
    persona: Option<Arc<Persona>>,
    /// What the persona is always told, as tokens, if that was read before.
    prefix: Option<Arc<[u32]>>,
    held: Arc<Held>,
}

struct Held {
    inner: Arc<Inner>,
    id: ModelId,
    keep_alive: Option<KeepAlive>,
}

impl Lease {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: ModelId,
        llm: Arc<Llm>,
        keep_alive: Option<KeepAlive>,
    ) -> Self {
        Self {
            llm,
            adapter: None,
            persona: None,
            prefix: None,
            held: Arc::new(Held {
                inner,
                id,
                keep_alive,
            }),
        }
    }
}

impl Lease {
    /// The same, with an adapter and its name.
    pub(super) fn with_adapter(self, name: &str, adapter: Arc<Adapter>) -> Self {
        Self {
            adapter: Some((name.into(), adapter)),
            ..self
        }
    }

    /// The same, for a persona.
    pub(super) fn with_persona(self, persona: Option<Arc<Persona>>) -> Self {
        let key = persona
            .as_ref()
            .map(|persona| (persona.id().to_owned(), self.held.id));
        let state = self.held.inner.lock();
        let prefix = key.and_then(|key| state.prefixes.get(&key).cloned());
        drop(state);
        Self {
            persona,
            prefix,
            ..self
        }
    }

    /// What the persona is always told, as tokens, if that was read before.
    pub(super) fn prefix(&self) -> Option<&[u32]> {
        self.prefix.as_deref()
    }

    /// Keeps what the persona is always told.
    pub(super) fn keep_prefix(&self, persona: &Persona, prefix: Arc<[u32]>) {
        let key = (persona.id().to_owned(), self.held.id);
        self.held.inner.lock().prefixes.insert(key, prefix);
    }

    /// The name that answers carry: the persona's, the adapter's, or the model's.
    pub fn name(&self) -> &str {
        match &self.persona {
            Some(persona) => persona.id(),
            None => self.model_name(),
        }
    }

    /// The name of the model or of its adapter, whoever is asked for.
    pub fn model_name(&self) -> &str {
        self.adapter
            .as_ref()
            .map_or(self.llm.name(), |(name, _)| name)
    }

    pub(super) fn shared(&self) -> Arc<Llm> {
        Arc::clone(&self.llm)
    }

    /// What is computed with beside the weights.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.adapter.as_ref().map(|(_, adapter)| adapter)
    }

    /// Who answers, if it is somebody.
    pub fn persona(&self) -> Option<&Arc<Persona>> {
        self.persona.as_ref()
    }

    /// What requests get that do not say how to sample.
    pub fn default_sampling(&self) -> SamplingParams {
        let sampling = self.llm.card().default_sampling.clone();
        match &self.persona {
            Some(persona) => crate::persona::sampling(persona.sampling(), sampling),
            None => sampling,
        }
    }
}

impl Deref for Lease {
    type Target = Llm;

    fn deref(&self) -> &Llm {
        &self.llm
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.release(self.id, self.keep_alive);
    }
}
