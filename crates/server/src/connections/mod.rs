//! The connections that are open: how many there may be, what each of them is doing, and which goes
//! when there is no room for another.
//!
//! ```text
//!            head of a request               body complete              response sent
//!   Idle ──────────────────────▶ Receiving ─────────────────▶ Answering ─────────────▶ Idle
//!    └── goes first, longest idle ──┘ goes next                  └── stays
//! ```

mod attend;
mod heads;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

pub(crate) use attend::{Patience, attend};

/// What a connection is doing. The order is that in which they have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing: its next request has not come, or not all of its head.
    Idle,
    /// It sends the body of a request.
    Receiving,
    /// It waits for its answer, or reads it.
    Answering,
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Mutex<(Phase, Instant)>,
    /// Told when it has to go.
    leave: Notify,
}

impl Connection {
    fn new() -> Self {
        Self {
            state: Mutex::new((Phase::Idle, Instant::now())),
            leave: Notify::new(),
        }
    }

    /// Takes note of what the connection does from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// What it does, and since when.
    fn state(&self) -> (Phase, Instant) {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All connections that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Connections that had to go for others.
    evicted: AtomicU64,
    /// Connections that found no room.
    refused: AtomicU64,
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Connections,
    key: u64,
    connection: Arc<Connection>,
}

impl Connections {
    /// A place for another connection, if need be that of one of `max` that has been idle the longest,
    /// or else has been sending a body the longest. `None` if all are being answered.
    pub(crate) fn enter(&self, max: usize) -> Option<Place> {
        let key = self.0.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new());
        self.insert(key, &connection, max).then(|| Place {
            connections: self.clone(),
            key,
            connection,
        })
    }

    /// Adds a connection, if need be in the place of another. False if there is no place for it.
    fn insert(&self, key: u64, connection: &Arc<Connection>, max: usize) -> bool {
        let mut open = self.lock();
        if open.len() >= max {
            let stays = |(_, connection): &(&u64, &Arc<Connection>)| {
                connection.state().0 != Phase::Answering
            };
            let longest = open.iter().filter(stays).min_by_key(|(_, c)| c.state());
            let Some((&key, _)) = longest else {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            if let Some(connection) = open.remove(&key) {
                connection.leave.notify_one();
                self.0.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        open.insert(key, Arc::clone(connection));
        true
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().len()
    }

    /// How many had to go for others.
    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// How many found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when another connection needs the place.
    async fn is_needed(&self) {
        self.connection.leave.notified().await;
    }

    /// Takes a place anew for a connection that had to go while its request was already on its way; false
    /// if it has none, or if there is no place for it.
    fn take_again(&self, max: usize) -> bool {
        let has_request = self.connection.state().0 != Phase::Idle;
        has_request && self.connections.insert(self.key, &self.connection, max)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_goes_first_then_who_still_sends() {
        let all = Connections::default();
        let places: Vec<Place> = (0..3).map(|_| all.enter(3).unwrap()).collect();
        let [sends, idle, answered] = [0, 1, 2].map(|i| &places[i].connection);
        sends.enter(Phase::Receiving);
        answered.enter(Phase::Answering);
        let is_open = |place: &Place| all.lock().contains_key(&place.key);

        let fourth = all.enter(3).unwrap();
        assert!(
            !is_open(&places[1]) && is_open(&places[0]),
            "the idle one goes"
        );
        fourth.connection.enter(Phase::Answering);
        let fifth = all.enter(3).unwrap();
        assert!(
            !is_open(&places[0]) && is_open(&places[2]),
            "then who sends"
        );
        fifth.connection.enter(Phase::Answering);
        assert!(all.enter(3).is_none(), "who is answered stays");
        assert_eq!((all.open(), all.evicted(), all.refused()), (3, 2, 1));
        // One whose request came while it had to go takes a place again, if there is one.
        assert!(!places[1].take_again(3), "it has no request");
        idle.enter(Phase::Answering);
        assert!(!places[1].take_again(3), "all are being answered");
        assert_eq!(all.refused(), 2);
        fifth.connection.enter(Phase::Idle);
        assert!(places[1].take_again(3) && is_open(&places[1]) && !is_open(&fifth));
        // One that has gone takes nobody's place with it.
        drop(fifth);
        assert_eq!(all.open(), 3);
        drop(places);
        assert_eq!(all.open(), 1);
    }
}
