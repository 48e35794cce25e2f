//! What a server is made of. Each handler takes the part that it needs ([`FromRef`]).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::extract::FromRef;
use matou_history::History;
use matou_llm::Llm;
use matou_llm::models::Models;
use matou_provenance::ProvenanceLog;
use tokio::sync::watch;

use crate::access::{Access, Entrance, Guesses};
use crate::body::BodyBudget;
use crate::connections::Connections;
use crate::door::Door;
use crate::encryption::Encryption;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::management::{ModelManagement, PersonaManagement};
use crate::reach::Reach;
use crate::serving::Services;
use crate::shelf::Shelf;
use crate::violations::Violations;
use crate::workers::Workers;

/// How models are served, as far as it can change while the server runs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Bounds on what a client may ask of the server itself.
    pub limits: Limits,
    /// Who may use the server.
    pub access: Access,
    /// Whether clients with different keys share what is computed of prompts that begin alike.
    pub share_prefix_cache: bool,
    /// Whether every answer says that a model made it; those of personas do in any case.
    pub label: bool,
}

/// The way to change the [`Settings`] of a server that runs. Requests that have begun are answered as
/// they were begun.
#[derive(Clone)]
pub struct Live(Arc<watch::Sender<Option<Settings>>>);

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Live {
    /// Serves with these settings from now on. A key that was known before stays the same client's.
    pub fn set(&self, settings: Settings) {
        self.0.send_replace(Some(settings));
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Option<Settings>> {
        self.0.subscribe()
    }
}

/// Models, and how they are served.
#[derive(Clone)]
pub struct AppState {
    /// The models.
    pub models: Models,
    /// Bounds on what a client may ask of the server itself.
    pub limits: Limits,
    /// Who may use the server.
    pub access: Access,
    /// Where "now" comes from; a test can fix it.
    pub clock: fn() -> SystemTime,
    /// Whether clients with different keys share what is computed of prompts that begin alike.
    pub share_prefix_cache: bool,
    /// Whether every answer says that a model made it; those of personas do in any case.
    pub label: bool,
    pub(crate) workers: Workers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) connections: Connections,
    pub(crate) bodies: BodyBudget,
    pub(crate) shelf: Shelf,
    pub(crate) guesses: Guesses,
    pub(crate) violations: Violations,
    pub(crate) reach: Reach,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) personas: Option<Arc<dyn PersonaManagement>>,
    pub(crate) management: Option<Arc<dyn ModelManagement>>,
    pub(crate) provenance: Option<Arc<ProvenanceLog>>,
    live: Live,
}

impl AppState {
    /// A server of `llm`, which stays in memory, with the usual limits.
    pub fn new(llm: Llm) -> Self {
        let max_queue_len = llm.engine().config().max_queue_len;
        Self::of(Models::of(llm), max_queue_len)
    }

    /// A server of `models` with the usual limits. So many requests of each client may wait to be
    /// prepared.
    pub fn of(models: Models, max_queue_len: usize) -> Self {
        Self {
            models,
            limits: Limits::default(),
            access: Access::default(),
            clock: SystemTime::now,
            share_prefix_cache: false,
            label: false,
            provenance: None,
            workers: Workers::new(max_queue_len),
            lifecycle: Lifecycle::default(),
            connections: Connections::default(),
            bodies: BodyBudget::default(),
            shelf: Shelf::in_memory(),
            guesses: Guesses::default(),
            violations: Violations::default(),
            reach: Reach::default(),
            encryption: None,
            personas: None,
            management: None,
            live: Live::default(),
        }
    }

    /// The same server, with these settings.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        let Settings {
            limits,
            access,
            share_prefix_cache,
            label,
        } = settings;
        Self {
            access: Access {
                is_loopback: self.access.is_loopback,
                keys: access.keys.after(&self.access.keys),
                ..access
            },
            limits,
            share_prefix_cache,
            label,
            ..self
        }
    }

    /// The same server, whose clients may fetch and delete models.
    #[must_use]
    pub fn with_management(self, management: Option<Arc<dyn ModelManagement>>) -> Self {
        Self { management, ..self }
    }

    /// The same server, which keeps hashes of its answers.
    #[must_use]
    pub fn with_provenance(self, provenance: Option<Arc<ProvenanceLog>>) -> Self {
        Self { provenance, ..self }
    }

    /// The same server, which keeps conversations, responses and sign-ins in this file.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        let shelf = Shelf::of(history);
        Self { shelf, ..self }
    }

    /// The same server, reached by these addresses.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The same server, whose connections are encrypted.
    #[must_use]
    pub fn with_encryption(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }

    /// The same server, whose clients may add, change and delete personas.
    #[must_use]
    pub fn with_persona_management(self, personas: Option<Arc<dyn PersonaManagement>>) -> Self {
        Self { personas, ..self }
    }

    /// A token for the page's address, `/#login=TOKEN`, with which a browser signs in once by the first
    /// key; `None` where no key is needed.
    pub fn login_token(&self) -> Option<String> {
        let key = self.access.keys.first()?;
        Some(self.shelf.links.give(key.digest, Instant::now()))
    }

    pub(crate) fn entrance(&self) -> Entrance {
        Entrance {
            keys: self.access.keys.clone(),
            sign_ins: self.shelf.sign_ins.clone(),
            links: self.shelf.links.clone(),
            guesses: self.guesses.clone(),
            clock: self.clock,
        }
    }

    /// Whether clients may add, change and delete personas.
    pub(crate) fn edits_personas(&self) -> bool {
        self.personas.is_some()
    }

    /// The way to change its settings while it runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }
}

impl FromRef<AppState> for Models {
    fn from_ref(state: &AppState) -> Self {
        state.models.clone()
    }
}

impl FromRef<AppState> for Limits {
    fn from_ref(state: &AppState) -> Self {
        state.limits.clone()
    }
}

impl FromRef<AppState> for BodyBudget {
    fn from_ref(state: &AppState) -> Self {
        state.bodies.clone()
    }
}

impl FromRef<AppState> for Door {
    fn from_ref(state: &AppState) -> Self {
        Self {
            models: state.models.clone(),
            services: Services {
                workers: state.workers.clone(),
                lifecycle: state.lifecycle.clone(),
                share_prefix_cache: state.share_prefix_cache,
                keep_alive: state.limits.keep_alive,
                clock: state.clock,
                label: state.label,
                provenance: state.provenance.clone(),
            },
        }
    }
}
