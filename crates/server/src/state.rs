//! What a server is made of. Each handler takes the part that it needs ([`FromRef`]).

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::FromRef;
use matou_llm::Llm;

use crate::access::Access;
use crate::body::BodyBudget;
use crate::connections::Connections;
use crate::lifecycle::Lifecycle;
use crate::limits::Limits;
use crate::serving::Serving;
use crate::workers::Workers;

/// A model, and how it is served.
#[derive(Clone)]
pub struct AppState {
    /// The model.
    pub llm: Arc<Llm>,
    /// Bounds on what a client may ask of the server itself.
    pub limits: Limits,
    /// Who may use the server.
    pub access: Access,
    /// Where "now" comes from; a test can fix it.
    pub clock: fn() -> SystemTime,
    /// Whether clients with different keys share what is computed of prompts that begin alike.
    pub share_prefix_cache: bool,
    pub(crate) workers: Workers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) connections: Connections,
    pub(crate) bodies: BodyBudget,
}

impl AppState {
    /// A server of `llm` with the usual limits.
    pub fn new(llm: Llm) -> Self {
        let workers = Workers::new(llm.engine().config().max_queue_len);
        Self {
            llm: Arc::new(llm),
            limits: Limits::default(),
            access: Access::default(),
            clock: SystemTime::now,
            share_prefix_cache: false,
            workers,
            lifecycle: Lifecycle::default(),
            connections: Connections::default(),
            bodies: BodyBudget::default(),
        }
    }
}

impl FromRef<AppState> for Arc<Llm> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.llm)
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

impl FromRef<AppState> for Serving {
    fn from_ref(state: &AppState) -> Self {
        Self {
            llm: Arc::clone(&state.llm),
            workers: state.workers.clone(),
            lifecycle: state.lifecycle.clone(),
            share_prefix_cache: state.share_prefix_cache,
            keep_alive: state.limits.keep_alive,
            clock: state.clock,
        }
    }
}
