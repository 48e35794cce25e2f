//! Which models are in memory: what is loaded next, what has to go for it, and who may enter.
//!
//! Numbers and times in, decisions out: no clock, no I/O, no tensors. [`Residency::next`] says what to do
//! after whatever has happened; who calls does it, and says when it is done.
//!
//! ```text
//!             somebody waits, and there is room        loaded
//!   Absent ──────────────────────────────────▶ Loading ─────▶ Resident
//!     ▲  ▲                                        │ failed        │ idle, and: its time is over, its
//!     │  └────────────────────────────────────────┘               │ memory is needed, or it is told to go
//!     └──────────────────────────────── Leaving ◀─────────────────┘
//!                 memory is given back
//! ```
//!
//! - **First come, first served, by model.** The model whose oldest request has waited the longest is
//!   loaded next, alone: two at a time would make both late.
//! - **What goes** is idle, and was used the longest ago; of those, none whose memory is not needed.
//! - **A door closes.** Where a model that others wait for cannot be loaded because those in memory are
//!   never idle, the one used the longest ago takes in no more requests once it has had its [`TURN`];
//!   its later requests wait like the others'. Nothing that runs is cut.
//! - **No thrashing.** A model stays for as long as it took to load, so that at least half of the time
//!   is spent on answers; [`CREDIT`] of that is waived, so that who switches now and then never waits
//!   for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use matou_engine::ClientId;

use super::keep_alive::KeepAlive;

/// How long a model that is never idle goes on taking requests in while another is waited for.
const TURN: Duration = Duration::from_secs(5);
/// Time that models need not stay, until it is used up.
const CREDIT: Duration = Duration::from_secs(30);
/// A second of it comes back in so many.
const CREDIT_RETURNS: u32 = 10;

/// A model's number.
pub(super) type ModelId = usize;
/// A place in a model's line.
pub(super) type Ticket = u64;

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Absent,
    Loading,
    Resident,
    Leaving,
}

/// What becomes of a request at a model's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is in, until it is [released](Residency::release).
    In,
    /// It waits under this number.
    Waits(Ticket),
    /// As many of its client's requests wait as may.
    Full,
}

/// What is to be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) load: Option<ModelId>,
    pub(super) unload: Vec<ModelId>,
    /// When to ask again if nothing happens until then.
    pub(super) again: Option<Duration>,
}

/// Models, and the memory that they share.
#[derive(Debug)]
pub(super) struct Residency {
    budget: u64,
    models: Vec<Model>,
    tickets: Ticket,
    credit: Credit,
}

#[derive(Debug)]
struct Model {
    phase: Phase,
    bytes: u64,
    is_pinned: bool,
    /// Requests that are in.
    running: usize,
    /// Those that wait, in order: whose they are, and since when.
    waiting: BTreeMap<Ticket, (ClientId, Duration)>,
    by_client: HashMap<ClientId, usize>,
    last_used: Duration,
    /// When it came into its phase.
    since: Duration,
    took_to_load: Duration,
    /// When it goes if nobody uses it.
    expires: Option<Duration>,
    /// Others are waited for.
    is_closed: bool,
    /// It goes as soon as it is idle.
    is_told_to_go: bool,
}

/// Time that need not be stayed.
#[derive(Debug)]
struct Credit {
    left: Duration,
    at: Duration,
}

impl Credit {
    fn at(&mut self, now: Duration) -> Duration {
        self.left = CREDIT.min(self.left + now.saturating_sub(self.at) / CREDIT_RETURNS);
        self.at = now;
        self.left
    }
}

impl Model {
    /// Whether nobody uses it or is about to. Requests that wait at a door which has closed have their
    /// turn behind others'.
    fn is_idle(&self, now: Duration) -> bool {
        let is_free = self.waiting.is_empty() || self.is_told_to_go || self.turn_ends() <= now;
        self.phase == Phase::Resident && self.running == 0 && is_free
    }

    /// When it has had its turn.
    fn turn_ends(&self) -> Duration {
        self.since + TURN.max(self.took_to_load)
    }

    fn waiting_since(&self) -> Option<Duration> {
        self.waiting.values().next().map(|(_, since)| *since)
    }

    /// What it still has to stay, having taken so long to load.
    fn owes(&self, now: Duration) -> Duration {
        self.took_to_load
            .saturating_sub(now.saturating_sub(self.since))
    }

    fn takes_in(&self) -> bool {
        self.phase == Phase::Resident && !self.is_closed && !self.is_told_to_go
    }

    fn holds_memory(&self) -> bool {
        self.phase != Phase::Absent
    }
}

impl Residency {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            models: Vec::new(),
            tickets: 0,
            credit: Credit {
                left: CREDIT,
                at: Duration::ZERO,
            },
        }
    }

    /// A model that takes so many bytes, not in memory yet. One that is pinned never goes.
    pub(super) fn add(&mut self, bytes: u64, is_pinned: bool) -> ModelId {
        self.models.push(Model {
            phase: Phase::Absent,
            bytes,
            is_pinned,
            running: 0,
            waiting: BTreeMap::new(),
            by_client: HashMap::new(),
            last_used: Duration::ZERO,
            since: Duration::ZERO,
            took_to_load: Duration::ZERO,
            expires: None,
            is_closed: false,
            is_told_to_go: false,
        });
        self.models.len() - 1
    }

    pub(super) fn phase(&self, id: ModelId) -> Phase {
        self.models[id].phase
    }

    pub(super) fn bytes(&self, id: ModelId) -> u64 {
        self.models[id].bytes
    }

    /// Requests that are in, and those that wait.
    pub(super) fn requests(&self, id: ModelId) -> (usize, usize) {
        (self.models[id].running, self.models[id].waiting.len())
    }

    pub(super) fn is_pinned(&self, id: ModelId) -> bool {
        self.models[id].is_pinned
    }

    /// Memory that is used or promised.
    pub(super) fn used(&self) -> u64 {
        let held = self.models.iter().filter(|model| model.holds_memory());
        held.map(|model| model.bytes).sum()
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }

    /// Changes the budget. Where it is less than what is in memory, models go as they are no longer used.
    pub(super) fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Changes what a model takes. Where that is more than there is room for, others go as they are no
    /// longer used.
    pub(super) fn set_bytes(&mut self, id: ModelId, bytes: u64) {
        self.models[id].bytes = bytes;
    }

    pub(super) fn set_pinned(&mut self, id: ModelId, is_pinned: bool) {
        self.models[id].is_pinned = is_pinned;
    }

    /// When the model goes if nobody uses it.
    pub(super) fn expires(&self, id: ModelId) -> Option<Duration> {
        let model = &self.models[id];
        let is_unused = model.running == 0 && model.waiting.is_empty();
        model.expires.filter(|_| is_unused && !model.is_pinned)
    }

    /// Memory that a model could have at most: the budget less what never goes.
    pub(super) fn room_for(&self, id: ModelId) -> u64 {
        let others = self.models.iter().enumerate().filter(|(i, _)| *i != id);
        let pinned = others.filter(|(_, model)| model.is_pinned && model.holds_memory());
        let pinned: u64 = pinned.map(|(_, model)| model.bytes).sum();
        self.budget.saturating_sub(pinned)
    }

    /// A request comes to a model's door, or asks again with the place that it has in the line.
    pub(super) fn enter(
        &mut self,
        id: ModelId,
        place: Option<Ticket>,
        (client, most): (ClientId, usize),
        now: Duration,
    ) -> Entry {
        let model = &mut self.models[id];
        if model.takes_in() {
            if let Some(ticket) = place {
                model.forget(ticket);
            }
            model.running += 1;
            model.last_used = now;
            model.expires = None;
            return Entry::In;
        }
        if let Some(ticket) = place.filter(|ticket| model.waiting.contains_key(ticket)) {
            return Entry::Waits(ticket);
        }
        if model.by_client.get(&client).is_some_and(|n| *n >= most) {
            return Entry::Full;
        }
        self.tickets += 1;
        model.waiting.insert(self.tickets, (client, now));
        *model.by_client.entry(client).or_default() += 1;
        Entry::Waits(self.tickets)
    }

    /// A request waits no more.
    pub(super) fn give_up(&mut self, id: ModelId, ticket: Ticket) {
        self.models[id].forget(ticket);
    }

    /// All requests that wait for a model are told that they do so in vain.
    pub(super) fn turn_away(&mut self, id: ModelId) {
        self.models[id].waiting.clear();
        self.models[id].by_client.clear();
    }

    /// A request that was in has been answered. The model stays for so long.
    pub(super) fn release(&mut self, id: ModelId, keep: KeepAlive, now: Duration) {
        let model = &mut self.models[id];
        model.running = model.running.saturating_sub(1);
        model.last_used = now;
        model.keep(keep, now);
    }

    /// Sets how long a model stays that nobody uses.
    pub(super) fn keep(&mut self, id: ModelId, keep: KeepAlive, now: Duration) {
        self.models[id].keep(keep, now);
    }

    /// The model is to go as soon as it is idle; requests that come meanwhile wait. Pinned or not.
    pub(super) fn dismiss(&mut self, id: ModelId) {
        let model = &mut self.models[id];
        model.is_told_to_go = model.phase == Phase::Resident;
    }

    pub(super) fn loaded(&mut self, id: ModelId, now: Duration) {
        let model = &mut self.models[id];
        model.took_to_load = now.saturating_sub(model.since);
        model.last_used = now;
        model.enter(Phase::Resident, now);
    }

    /// The model was not loaded, or its memory is free again.
    pub(super) fn gone(&mut self, id: ModelId, now: Duration) {
        self.models[id].enter(Phase::Absent, now);
    }

    /// The model has ended by itself: its memory is on its way.
    pub(super) fn died(&mut self, id: ModelId, now: Duration) {
        self.models[id].enter(Phase::Leaving, now);
    }

    /// What is to be done now.
    pub(super) fn next(&mut self, now: Duration) -> Decision {
        let mut decision = Decision::default();
        for id in 0..self.models.len() {
            let model = &mut self.models[id];
            model.is_closed = false;
            let is_over = !model.is_pinned && model.expires.is_some_and(|end| end <= now);
            if model.is_idle(now) && (is_over || model.is_told_to_go) {
                model.enter(Phase::Leaving, now);
                decision.unload.push(id);
            }
        }
        self.shrink(now, &mut decision);
        self.load_next(now, &mut decision);
        let expiry = (0..self.models.len()).filter_map(|id| self.expires(id));
        decision.again = decision.again.into_iter().chain(expiry).min();
        decision
    }

    /// Lets idle models go until the rest is within the budget, which may have become smaller.
    fn shrink(&mut self, now: Duration, decision: &mut Decision) {
        let staying = |model: &&Model| matches!(model.phase, Phase::Loading | Phase::Resident);
        let mut taken: u64 = self.models.iter().filter(staying).map(|m| m.bytes).sum();
        while taken > self.budget {
            let idle = (0..self.models.len()).filter(|id| {
                let model = &self.models[*id];
                model.is_idle(now) && !model.is_pinned
            });
            let Some(id) = idle.min_by_key(|id| self.models[*id].last_used) else {
                return;
            };
            taken -= self.models[id].bytes;
            self.models[id].enter(Phase::Leaving, now);
            decision.unload.push(id);
        }
    }

    /// Loads the model that has been waited for the longest, or makes room for it.
    fn load_next(&mut self, now: Duration, decision: &mut Decision) {
        if self
            .models
            .iter()
            .any(|model| model.phase == Phase::Loading)
        {
            return;
        }
        let absent = self.models.iter().enumerate();
        let waited_for = absent
            .filter(|(_, model)| model.phase == Phase::Absent)
            .filter_map(|(id, model)| Some((model.waiting_since()?, id)));
        let Some((_, wanted)) = waited_for.min() else {
            return;
        };
        let bytes = self.models[wanted].bytes;
        let free = self.budget.saturating_sub(self.used());
        if bytes <= free {
            self.models[wanted].enter(Phase::Loading, now);
            decision.load = Some(wanted);
            return;
        }
        let leaving = self.models.iter().filter(|m| m.phase == Phase::Leaving);
        let leaving: u64 = leaving.map(|model| model.bytes).sum();
        // What is on its way out may be enough.
        let Some(missing) = bytes.checked_sub(free + leaving).filter(|n| *n > 0) else {
            return;
        };
        let idle = self.to_go(missing, |model| model.is_idle(now));
        if let Some(victims) = idle {
            self.let_go(&victims, now, decision);
            return;
        }
        // Those that are never idle close their doors, the idle ones among them go with them.
        let Some(victims) = self.to_go(missing, |_| true) else {
            return;
        };
        for id in victims {
            let model = &mut self.models[id];
            if model.is_idle(now) {
                continue;
            }
            let end = model.turn_ends();
            model.is_closed = end <= now;
            if !model.is_closed {
                decision.wake(end);
            }
        }
    }

    /// The models of `which`, used the longest ago first, that make up so many bytes; `None` if all of
    /// them do not.
    fn to_go(&self, missing: u64, which: impl Fn(&Model) -> bool) -> Option<Vec<ModelId>> {
        let mut candidates: Vec<ModelId> = (0..self.models.len())
            .filter(|id| {
                let model = &self.models[*id];
                model.phase == Phase::Resident && !model.is_pinned && which(model)
            })
            .collect();
        candidates.sort_by_key(|id| self.models[*id].last_used);
        let mut sum = 0;
        let mut chosen = Vec::new();
        for id in candidates {
            if sum >= missing {
                break;
            }
            sum += self.models[id].bytes;
            chosen.push(id);
        }
        if sum < missing {
            return None;
        }
        // The last ones alone may be enough.
        let mut kept = Vec::new();
        for id in chosen {
            let bytes = self.models[id].bytes;
            if sum - bytes >= missing {
                sum -= bytes;
            } else {
                kept.push(id);
            }
        }
        Some(kept)
    }

    /// Lets models go that have stayed as long as they took to load, on credit if there is some.
    fn let_go(&mut self, victims: &[ModelId], now: Duration, decision: &mut Decision) {
        let owed = victims.iter().map(|id| self.models[*id].owes(now));
        let owed = owed.max().unwrap_or_default();
        let credit = self.credit.at(now);
        if owed > credit {
            // Credit grows meanwhile, so that it may be a little sooner.
            decision.wake(now + (owed - credit));
            return;
        }
        self.credit.left -= owed;
        for &id in victims {
            self.models[id].enter(Phase::Leaving, now);
            decision.unload.push(id);
        }
    }
}

impl Decision {
    fn wake(&mut self, at: Duration) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

impl Model {
    fn enter(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
        self.is_closed = false;
        self.is_told_to_go = false;
        self.expires = None;
    }

    fn keep(&mut self, keep: KeepAlive, now: Duration) {
        // The last request of one that has ended by itself may be told of after it has gone.
        self.expires = match keep {
            KeepAlive::For(time) if self.phase == Phase::Resident => now.checked_add(time),
            _ => None,
        };
    }

    fn forget(&mut self, ticket: Ticket) {
        let Some((client, _)) = self.waiting.remove(&ticket) else {
            return;
        };
        if let Some(waiting) = self.by_client.get_mut(&client) {
            *waiting -= 1;
            if *waiting == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
#[path = "residency_tests.rs"]
mod tests;
