//! How things stand, for those who ask.

use std::sync::Arc;
use std::time::Duration;

use matou_engine::{EngineConfig, EngineStats};

use super::residency::{ModelId, Phase};
use super::source::ModelFacts;
use super::state::State;

/// A model as it stands now.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    /// What it is.
    pub facts: Arc<ModelFacts>,
    /// Where it is.
    pub state: ModelState,
    /// Requests that it has taken in, and those that wait for it to be loaded.
    pub requests: (usize, usize),
    /// Whether it stays in memory once it is there.
    pub is_pinned: bool,
    /// Times that it was loaded.
    pub loads: u64,
    /// What its engine has counted, and the limits that it runs under, if it was ever loaded.
    pub engine: Option<(EngineStats, Option<EngineConfig>)>,
}

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelState {
    /// On disk.
    Unloaded,
    /// On its way into memory.
    Loading {
        /// Bytes of weights that have been read.
        done: u64,
        /// Bytes in all; zero as long as they are not known.
        total: u64,
    },
    /// In memory.
    Loaded {
        /// When it goes if nobody uses it; `None` if it stays until its memory is needed.
        expires_in: Option<Duration>,
    },
    /// On its way out.
    Unloading,
    /// It could not be loaded.
    Failed {
        /// Why.
        reason: String,
    },
}

impl State {
    pub(super) fn status(&self, id: ModelId, now: Duration) -> ModelStatus {
        let model = &self.models[id];
        let state = match self.residency.phase(id) {
            Phase::Absent => match (&model.too_large, &model.failure) {
                (Some(reason), _) => ModelState::Failed {
                    reason: reason.to_string(),
                },
                (None, Some(failure)) => ModelState::Failed {
                    reason: failure.reason.clone(),
                },
                (None, None) => ModelState::Unloaded,
            },
            Phase::Loading => {
                let (done, total) = model.progress.get();
                ModelState::Loading { done, total }
            }
            Phase::Resident => ModelState::Loaded {
                expires_in: self
                    .residency
                    .expires(id)
                    .map(|end| end.saturating_sub(now)),
            },
            Phase::Leaving => ModelState::Unloading,
        };
        let running = model.running.as_ref().map(|running| {
            let engine = running.llm.engine();
            (engine.stats(), Some(engine.config().clone()))
        });
        let counted = model.counted.clone().map(|stats| (stats, None));
        ModelStatus {
            facts: Arc::clone(&model.facts),
            state,
            requests: self.residency.requests(id),
            is_pinned: self.residency.is_pinned(id),
            loads: model.loads,
            engine: running.or(counted),
        }
    }
}
