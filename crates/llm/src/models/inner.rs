//! What is done about models: let in, loaded, given back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use matou_engine::{ClientId, EngineThread, Turns};
use matou_model::{ThreadPool, give_back_freed};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info};

use super::adapters::ServedAdapter;
use super::config::{ModelConfig, ModelsOptions};
use super::keep_alive::KeepAlive;
use super::residency::{Decision, Entry, ModelId, Phase, Ticket};
use super::shares::{Share, share_out};
use super::source::{Loading, Source, share_threads};
use super::state::{Model, PAUSE, Running, State};
use crate::error::LlmError;
use crate::llm::Llm;
use crate::open::OpenError;

pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    /// Ticks with whatever happens.
    pub(super) changed: watch::Sender<()>,
    pub(super) began: Instant,
    /// Of each device, by its name: models on one take turns.
    turns: Mutex<HashMap<String, Turns>>,
    pub(super) pool: OnceLock<Arc<ThreadPool>>,
    pub(super) runtime: OnceLock<Handle>,
}

/// A place in a model's line; given up when dropped.
pub(super) struct Place<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) id: ModelId,
    pub(super) ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.inner.lock().residency.give_up(self.id, ticket);
            // Doors that were closed for it may open.
            self.inner.drive();
        }
    }
}

impl Inner {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            began: Instant::now(),
            turns: Mutex::default(),
            pool: OnceLock::new(),
            runtime: OnceLock::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes note of where tasks are run: leases may be dropped elsewhere.
    pub(super) fn note_runtime(&self) {
        if let Ok(runtime) = Handle::try_current() {
            let _ = self.runtime.set(runtime);
        }
    }

    /// Serves these models from now on.
    pub(super) fn set(&self, configs: Vec<ModelConfig>, options: &ModelsOptions) {
        let needs: Vec<_> = configs.iter().map(ModelConfig::needs).collect();
        let shares = share_out(options.memory, options.kv_cache_part, &needs);
        let mut state = self.lock();
        state.any_name = options.any_name;
        state.max_queue_len = options.max_queue_len;
        state.residency.set_budget(options.memory);
        let mut served = Vec::new();
        // Those that requests brought stay with their models, and so do those that have not changed.
        let mut before = std::mem::take(&mut state.adapters);
        state
            .adapters
            .extend(before.extract_if(.., |adapter| !adapter.is_configured));
        for ((config, share), needs) in configs.into_iter().zip(shares).zip(needs) {
            let beside = config.adapter_bytes();
            let (share, too_large) = match share {
                Ok(share) => (share, None),
                Err(reason) => (needs.least_share(), Some(reason)),
            };
            // What it takes without its adapters.
            let share = Share {
                total: share.total.saturating_sub(beside),
                ..share
            };
            let mut inspected = config.inspected;
            let pool = self.pool.get_or_init(|| share_threads(inspected.options()));
            inspected.share_threads(Arc::clone(pool));
            let (facts, source) = inspected.with_share(share);
            let is_same = |id: &ModelId| {
                let known = state.models[*id].source.as_ref();
                !served.contains(id) && known.is_some_and(|known| known.is_same(&source))
            };
            let same = state.served.iter().copied().find(is_same);
            let (memory, facts) = (facts.memory, Arc::new(facts));
            let source: Arc<dyn Source> = Arc::new(source);
            let id = match same {
                // What is in memory stays as it is until it is loaded anew.
                Some(id) if state.residency.phase(id) != Phase::Absent => id,
                Some(id) => {
                    state.residency.set_bytes(id, memory);
                    state.models[id].facts = facts;
                    state.models[id].source = Some(source);
                    state.models[id].failure = None;
                    id
                }
                None => {
                    let model = Model::new(facts, Some(source), config.keep_alive);
                    state.models.push(model);
                    state.residency.add(memory, config.pinned)
                }
            };
            state.residency.set_pinned(id, config.pinned);
            state.models[id].keep_alive = config.keep_alive;
            state.models[id].too_large = too_large;
            let created = state.models[id].facts.created;
            for adapter in config.adapters {
                let is_same = |it: &Arc<ServedAdapter>| it.base == id && it.config == adapter;
                let same = before.iter().position(is_same);
                let same = same.map(|place| before.swap_remove(place));
                let new = || Arc::new(ServedAdapter::new(adapter, id, created, true));
                state.adapters.push(same.unwrap_or_else(new));
            }
            state.recount(id);
            served.push(id);
        }
        let mut retired = state.served.clone();
        retired.retain(|id| !served.contains(id));
        state
            .adapters
            .retain(|adapter| served.contains(&adapter.base));
        state.drop_shadowed_adapters(&served);
        for id in retired {
            state.residency.set_pinned(id, false);
            state.residency.turn_away(id);
            state.residency.dismiss(id);
        }
        state.serve(served);
    }

    /// The model, if it takes a request in now.
    pub(super) fn try_enter(
        self: &Arc<Self>,
        place: &mut Place<'_>,
        client: ClientId,
    ) -> Result<Option<Arc<Llm>>, LlmError> {
        let id = place.id;
        let now = self.now();
        let mut state = self.lock();
        let ended = state.models[id].running.as_ref();
        let ended = ended.is_some_and(|running| running.llm.engine().has_ended());
        if ended && state.models[id].source.is_some() {
            drop(state);
            self.died(id);
            state = self.lock();
        }
        if !state.served.contains(&id) {
            return Err(state.unknown(&state.models[id].facts.names[0]));
        }
        if let Some(refusal) = state.refusal(id, now) {
            return Err(refusal);
        }
        let limits = (client, state.max_queue_len);
        match state.residency.enter(id, place.ticket, limits, now) {
            Entry::In => {
                place.ticket = None;
                let running = state.models[id].running.as_ref();
                let llm = running.map(|running| Arc::clone(&running.llm));
                Ok(Some(llm.expect("what is resident is running")))
            }
            Entry::Waits(ticket) => {
                let is_new = place.ticket.replace(ticket).is_none();
                drop(state);
                if is_new {
                    self.drive();
                }
                Ok(None)
            }
            Entry::Full => {
                let message = format!(
                    "{} requests wait for the model `{}` already; try again later.",
                    state.max_queue_len, state.models[id].facts.names[0]
                );
                Err(LlmError::overloaded(message, PAUSE.0))
            }
        }
    }

    /// A request has been answered.
    pub(super) fn release(self: &Arc<Self>, id: ModelId, keep_alive: Option<KeepAlive>) {
        let mut state = self.lock();
        let keep = keep_alive.unwrap_or(state.models[id].keep_alive);
        let now = self.now();
        state.residency.release(id, keep, now);
        drop(state);
        self.drive();
    }

    /// Does what is to be done now.
    pub(super) fn drive(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.is_stopping {
            return;
        }
        let Decision {
            load,
            unload,
            again,
        } = state.residency.next(self.now());
        for id in unload {
            self.unload(id, &mut state);
        }
        if let Some(id) = load {
            self.load(id, &mut state);
        }
        if let Some(again) = again.filter(|again| state.alarm.is_none_or(|set| set > *again)) {
            state.alarm = Some(again);
            self.wake_at(again);
        }
        drop(state);
        self.changed.send_replace(());
    }

    fn wake_at(self: &Arc<Self>, at: Duration) {
        let inner = Arc::downgrade(self);
        let pause = at.saturating_sub(self.now());
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.lock();
            if state.alarm == Some(at) {
                state.alarm = None;
            }
            drop(state);
            inner.drive();
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Whoever asks for a model does so on a runtime.
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(task);
        }
    }

    fn turns_on(&self, device: &str) -> Turns {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(device.to_owned()).or_default().clone()
    }

    fn load(self: &Arc<Self>, id: ModelId, state: &mut State) {
        let model = &mut state.models[id];
        let Some(source) = model.source.clone() else {
            return;
        };
        model.progress = Arc::default();
        let loading = Loading {
            progress: Arc::clone(&model.progress),
            counted: model.counted.take(),
            turns: self.turns_on(&model.facts.device),
        };
        let kept = loading.counted.clone();
        let name = model.facts.names[0].clone();
        info!(model = name, "loading");
        let inner = Arc::clone(self);
        self.spawn(async move {
            let began = Instant::now();
            let loaded = tokio::task::spawn_blocking(move || {
                let loaded = source.load(loading);
                // Reading a vocabulary leaves as much behind as it takes.
                give_back_freed();
                loaded
            })
            .await;
            let loaded = loaded.unwrap_or_else(|panic| Err(OpenError::Panicked(panic.to_string())));
            match loaded {
                Ok(running) => {
                    let seconds = began.elapsed().as_secs_f64();
                    info!(model = name, seconds, "loaded");
                    inner.loaded(id, running);
                }
                Err(reason) => {
                    error!(model = name, %reason, "cannot be loaded");
                    inner.lock().models[id].counted = kept;
                    inner.failed(id, &chain(&reason));
                }
            }
        });
    }

    fn loaded(self: &Arc<Self>, id: ModelId, (llm, thread): (Llm, EngineThread)) {
        let mut state = self.lock();
        let now = self.now();
        state.residency.loaded(id, now);
        let engine = llm.engine().clone();
        let model = &mut state.models[id];
        model.loads += 1;
        model.failure = None;
        let keep = model.keep_alive;
        model.running = Some(Running {
            llm: Arc::new(llm),
            thread: Some(thread),
        });
        state.residency.keep(id, keep, now);
        if state.is_stopping {
            engine.shutdown();
        } else if !state.served.contains(&id) {
            state.residency.dismiss(id);
        }
        drop(state);
        let inner = Arc::downgrade(self);
        self.spawn(async move {
            engine.ended().await;
            if let Some(inner) = inner.upgrade() {
                inner.died(id);
            }
        });
        self.drive();
    }

    /// A model was not loaded: it is left alone for a while, each time for longer.
    fn failed(self: &Arc<Self>, id: ModelId, reason: &str) {
        let mut state = self.lock();
        let now = self.now();
        state.models[id].fail(reason, now);
        state.residency.gone(id, now);
        state.residency.turn_away(id);
        drop(state);
        self.drive();
    }

    /// An engine has ended. If nobody told it to, its model is loaded again after a pause.
    fn died(self: &Arc<Self>, id: ModelId) {
        let mut state = self.lock();
        let is_this = |running: &Running| running.llm.engine().has_ended();
        let is_ours = state.models[id].running.as_ref().is_some_and(is_this);
        if state.is_stopping || !is_ours {
            return;
        }
        let model = &mut state.models[id];
        let name = &model.facts.names[0];
        error!(
            model = name,
            "the engine has stopped; the model is loaded again when it is asked for"
        );
        let now = self.now();
        model.fail("its engine has stopped; the server's log says why", now);
        state.residency.died(id, now);
        state.residency.turn_away(id);
        self.unload(id, &mut state);
        drop(state);
        self.drive();
    }

    /// Gives a model's memory back.
    fn unload(self: &Arc<Self>, id: ModelId, state: &mut State) {
        state.adapters_of(id).for_each(|adapter| adapter.let_go());
        let model = &mut state.models[id];
        let Some(Running { llm, thread }) = model.running.take() else {
            return;
        };
        let name = model.facts.names[0].clone();
        let inner = Arc::clone(self);
        self.spawn(async move {
            let task = tokio::task::spawn_blocking(move || {
                llm.engine().shutdown();
                // One that has panicked has said so in the log.
                let _ = thread.map(EngineThread::join);
                let counted = llm.engine().stats();
                drop(llm);
                give_back_freed();
                counted
            });
            let counted = task.await.ok();
            info!(model = name, "unloaded");
            let mut state = inner.lock();
            state.models[id].counted = counted;
            let now = inner.now();
            state.residency.gone(id, now);
            drop(state);
            inner.drive();
        });
    }
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
