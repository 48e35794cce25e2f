//! All names that a request may ask for.

use std::collections::HashMap;
use std::sync::Arc;

use matou_persona::Persona;

use super::Models;
use super::adapters::AdapterStatus;
use super::residency::ModelId;
use super::state::{Found, State};
use super::view::ModelStatus;
use crate::error::LlmError;

/// A name that a request may ask for, and what it means.
#[derive(Debug, Clone)]
pub struct ServedName {
    /// The name.
    pub name: String,
    /// The name that it stands on: a persona's adapter or model, an adapter's model.
    pub parent: Option<String>,
    /// The model that computes.
    pub model: Arc<ModelStatus>,
    /// Its adapter, if it has one.
    pub adapter: Option<AdapterStatus>,
    /// Who answers, if it is somebody.
    pub persona: Option<Arc<Persona>>,
}

impl ServedName {
    /// Unix time since when it is served, in seconds.
    pub fn created(&self) -> u64 {
        let adapter = self.adapter.as_ref();
        adapter.map_or(self.model.facts.created, |adapter| adapter.created)
    }
}

impl Models {
    /// All names: of models in order, each followed by its adapters, and of personas whose model is there.
    pub fn names(&self) -> Vec<ServedName> {
        let state = self.0.lock();
        let now = self.0.now();
        let mut names = Vec::new();
        // A status has all that an engine has counted: it is made once.
        let status = |id: &ModelId| (*id, Arc::new(state.status(*id, now)));
        let statuses: HashMap<ModelId, Arc<ModelStatus>> =
            state.served.iter().map(status).collect();
        for &id in &state.served {
            let model = &statuses[&id];
            let own = |name: &String| ServedName {
                name: name.clone(),
                parent: None,
                model: Arc::clone(model),
                adapter: None,
                persona: None,
            };
            names.extend(model.facts.names.iter().map(own));
            let adapters = state.adapters_of(id).map(|adapter| ServedName {
                name: adapter.config.name().to_owned(),
                parent: Some(model.facts.names[0].clone()),
                model: Arc::clone(model),
                adapter: Some(state.adapter_status(adapter)),
                persona: None,
            });
            names.extend(adapters);
        }
        let personas = state.personas.iter();
        let found = personas.filter_map(|persona| {
            let found = state.spoken_for(persona).ok()?;
            let model = Arc::clone(&statuses[&found.id]);
            Some(served(&state, found, persona.id(), model))
        });
        names.extend(found);
        names
    }

    /// What a name means, or what requests get that name none.
    ///
    /// # Errors
    ///
    /// When nothing has this name.
    pub fn named(&self, name: Option<&str>) -> Result<ServedName, LlmError> {
        let state = self.0.lock();
        let now = self.0.now();
        let found = state.resolve(name)?;
        let first = state.models[found.id].facts.names[0].clone();
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&first);
        let model = Arc::new(state.status(found.id, now));
        Ok(served(&state, found, name, model))
    }
}

fn served(state: &State, found: Found, name: &str, model: Arc<ModelStatus>) -> ServedName {
    let adapter = found
        .adapter
        .as_ref()
        .map(|adapter| state.adapter_status(adapter));
    let base = model.facts.names[0].clone();
    let parent = match (&found.persona, &adapter) {
        (Some(_), Some(adapter)) => Some(adapter.name.clone()),
        (Some(_), None) | (None, Some(_)) => Some(base),
        (None, None) => None,
    };
    ServedName {
        name: name.to_owned(),
        parent,
        model,
        adapter,
        persona: found.persona,
    }
}
