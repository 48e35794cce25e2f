//! Names that are no models of their own: adapters, and personas.

use std::sync::Arc;

use matou_persona::Persona;

use super::Models;
use super::adapters::{AdapterConfig, AdapterStatus, ServedAdapter, no_adapters};
use super::residency::Phase;
use super::source::unix_now;
use crate::error::LlmError;
use crate::open::human_bytes;

impl Models {
    /// All adapters that are served.
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        let state = self.0.lock();
        let adapters = state.adapters.iter();
        adapters
            .map(|adapter| state.adapter_status(adapter))
            .collect()
    }

    /// Serves an adapter, of the model `base` or of that which its files name, or else of the default;
    /// in place of one of the same name if `replaces`. Returns when it is in memory.
    ///
    /// # Errors
    ///
    /// When the name is taken, when there is no such model, when the adapter does not fit it, and when
    /// there is no memory for it.
    pub async fn load_adapter(
        &self,
        config: AdapterConfig,
        base: Option<&str>,
        replaces: bool,
    ) -> Result<(), LlmError> {
        let (added, replaced) = self.add_adapter(config, base, replaces)?;
        let models = self.clone();
        // To its end, whether or not whoever asked still listens: it is there and loaded, or not there.
        let loading = tokio::spawn(async move {
            let loaded = models.load(Some(added.config.name())).await;
            if loaded.is_err() {
                models.take_back(&added, replaced);
            }
            loaded
        });
        let loaded = loading.await;
        loaded.unwrap_or_else(|panic| Err(LlmError::internal(panic.to_string())))
    }

    /// Puts what was before in the place of an adapter that could not be loaded, unless somebody has put
    /// another there.
    fn take_back(&self, added: &Arc<ServedAdapter>, replaced: Option<Arc<ServedAdapter>>) {
        let mut state = self.0.lock();
        let Some(place) = state.adapters.iter().position(|it| Arc::ptr_eq(it, added)) else {
            return;
        };
        state.adapters.remove(place);
        let bases: Vec<_> = replaced.iter().chain([added]).map(|it| it.base).collect();
        state.adapters.extend(replaced);
        bases.into_iter().for_each(|base| state.recount(base));
    }

    fn add_adapter(
        &self,
        config: AdapterConfig,
        base: Option<&str>,
        replaces: bool,
    ) -> Result<(Arc<ServedAdapter>, Option<Arc<ServedAdapter>>), LlmError> {
        let mut state = self.0.lock();
        let name = config.name().to_owned();
        let stated = config.base().map(str::to_owned);
        let own_base = || {
            stated
                .as_deref()
                .filter(|stated| state.names.contains_key(*stated))
        };
        let id = match base {
            Some(base) => state.names.get(base).copied(),
            None => state.find(own_base()).ok(),
        };
        let id = id.ok_or_else(|| state.unknown(base.unwrap_or_default()))?;
        let known = state.adapter(&name).map(Arc::clone);
        let is_taken = match &known {
            Some(_) => !replaces,
            None => state.is_named(&name),
        };
        if is_taken {
            let message = format!(
                "`{name}` is served already; unload it first, or choose another name (`lora_name`)."
            );
            return Err(LlmError::invalid("lora_name", message));
        }
        // Before the model is loaded for it.
        let facts = &state.models[id].facts;
        if facts.device_kind != "cpu" {
            return Err(no_adapters(&facts.names[0]));
        }
        let added = ServedAdapter::new(config, id, unix_now(), false);
        let bytes = added.config.memory_bytes();
        let (used, budget) = (state.residency.used(), state.residency.budget());
        let freed = known
            .as_ref()
            .map_or(0, |known| known.config.memory_bytes());
        let is_there = state.residency.phase(id) != Phase::Absent;
        if is_there && used.saturating_add(bytes) > budget.saturating_add(freed) {
            let message = format!(
                "The adapter `{name}` does not fit: it takes {}, and {} of {} are in use; unload a model \
                 or an adapter, or raise --memory.",
                human_bytes(bytes),
                human_bytes(used),
                human_bytes(budget),
            );
            return Err(LlmError::unavailable(message, None));
        }
        state
            .adapters
            .retain(|adapter| adapter.config.name() != name);
        let added = Arc::new(added);
        state.adapters.push(Arc::clone(&added));
        state.recount(id);
        if let Some(known) = &known {
            state.recount(known.base);
        }
        Ok((added, known))
    }

    /// Serves an adapter no longer. Requests that have begun with it are finished.
    ///
    /// # Errors
    ///
    /// When there is no adapter of this name.
    pub fn unload_adapter(&self, name: &str) -> Result<(), LlmError> {
        let mut state = self.0.lock();
        let Some(adapter) = state.adapter(name).map(Arc::clone) else {
            return Err(state.unknown(name));
        };
        adapter.let_go();
        state.adapters.retain(|other| !Arc::ptr_eq(other, &adapter));
        state.recount(adapter.base);
        Ok(())
    }

    /// Serves these personas, and no others, from now on.
    pub fn set_personas(&self, personas: Vec<Arc<Persona>>) {
        self.0.lock().set_personas(personas);
    }

    /// All personas that are served.
    pub fn personas(&self) -> Vec<Arc<Persona>> {
        self.0.lock().personas.clone()
    }
}
