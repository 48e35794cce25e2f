//! The responses that are kept. Each belongs to the client that made it: to others it does not exist.
//!
//! They are in memory, within bounds. Where there is a database they go there too, behind the answers and in
//! order, and are found there when memory does not have them (any more): after a start of the server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use matou_history::{History, HistoryError, KeptResponse, Limits, Owner};
use tracing::warn;

use super::shelves::Shelves;
use super::stored::StoredResponse;
use crate::blocking::blocking;
use crate::error::ApiError;

/// What the database keeps of responses: OpenAI keeps them for thirty days.
const LIMITS: Limits = Limits {
    max_responses: 20_000,
    max_bytes: 1 << 30,
};
/// Most bytes that wait to be written; what comes on top is in memory only.
const MAX_WAITING: usize = 64 << 20;

/// What is said where the client has none with this id.
pub(super) fn unknown(id: &str) -> ApiError {
    ApiError::not_found("id", format!("Response with id '{id}' not found."))
}

/// A response of its client's that has to be there.
///
/// # Errors
///
/// When it is not.
pub(super) async fn found(
    store: Arc<ResponseStore>,
    owner: Owner,
    id: String,
) -> Result<Arc<StoredResponse>, ApiError> {
    let wanted = id.clone();
    let stored = blocking(move || store.get(&owner, &wanted)).await?;
    stored.ok_or_else(|| unknown(&id))
}

/// All of them.
#[derive(Default)]
pub(crate) struct ResponseStore {
    memory: Shelves,
    kept: Option<Writer>,
}

impl ResponseStore {
    /// Those that are in `history`, and those to come.
    pub(crate) fn kept_in(history: History) -> Self {
        Self {
            memory: Shelves::default(),
            kept: Some(Writer::of(history)),
        }
    }

    /// Keeps a response, and drops old ones if room is needed. One that has no room at all is not
    /// kept.
    pub(super) fn insert(&self, owner: &Owner, id: String, stored: StoredResponse) {
        let stored = Arc::new(stored);
        self.memory.insert(owner, id.clone(), Arc::clone(&stored));
        if let Some(writer) = &self.kept {
            writer.write(Order::Keep(owner.clone(), id, stored));
        }
    }

    /// A client's response by its id. May read a disk.
    pub(super) fn get(&self, owner: &Owner, id: &str) -> Option<Arc<StoredResponse>> {
        let in_memory = self.memory.get(owner, id);
        in_memory.or_else(|| {
            let kept = self.kept.as_ref()?.history.response(owner, id);
            let kept = kept.unwrap_or_else(|error| {
                warn!("responses cannot be read: {error}");
                None
            });
            kept.map(|kept| Arc::new(kept.into()))
        })
    }

    /// Deletes a client's response; false if there was none. May wait for a disk.
    ///
    /// # Errors
    ///
    /// When it is not deleted.
    pub(super) fn delete(&self, owner: &Owner, id: &str) -> Result<bool, HistoryError> {
        let is_there = self.get(owner, id).is_some();
        if let Some(writer) = self.kept.as_ref().filter(|_| is_there) {
            writer.delete(owner, id)?;
        }
        self.memory.delete(owner, id);
        Ok(is_there)
    }
}

/// Writes to the database behind the answers, in order, on a thread of its own. What waits is written
/// before this is gone.
struct Writer {
    history: History,
    orders: Mutex<Option<Sender<Order>>>,
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Keep(Owner, String, Arc<StoredResponse>),
    Delete(Owner, String, Sender<Result<(), HistoryError>>),
}

impl Order {
    fn bytes(&self) -> usize {
        match self {
            Self::Keep(_, _, stored) => stored.bytes(),
            Self::Delete(..) => 0,
        }
    }

    fn carry_out(self, history: &History) {
        let done = match self {
            Self::Keep(owner, id, stored) => {
                let kept = KeptResponse {
                    response: &stored.response,
                    input: &stored.input,
                    messages: &stored.messages,
                };
                history
                    .keep_response(&owner, &id, &kept, LIMITS, now())
                    .map(|_| ())
            }
            Self::Delete(owner, id, done) => {
                let deleted = history.delete_response(&owner, &id).map(|_| ());
                // Who asked may have gone.
                let _ = done.send(deleted);
                Ok(())
            }
        };
        if let Err(error) = done {
            warn!("a response is kept in memory only: {error}");
        }
    }
}

impl Writer {
    fn of(history: History) -> Self {
        let (orders, received) = channel::<Order>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (counted, written) = (Arc::clone(&waiting), history.clone());
        let write = move || {
            for order in received {
                let bytes = order.bytes();
                order.carry_out(&written);
                counted.fetch_sub(bytes, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("responses".to_owned());
        let thread = thread.spawn(write);
        let thread = thread.map_err(|error| warn!("responses are kept in memory only: {error}"));
        Self {
            history,
            orders: Mutex::new(Some(orders)),
            waiting,
            thread: thread.ok(),
        }
    }

    fn write(&self, order: Order) {
        let bytes = order.bytes();
        // What takes nothing waits in any case: to be deleted.
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_WAITING && bytes > 0 {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return warn!("a response is kept in memory only: the disk is too slow");
        }
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the thread nobody takes it, which was told.
        let _ = orders.as_ref().map(|orders| orders.send(order));
    }

    /// Waits until it is gone: who deletes something relies on that.
    fn delete(&self, owner: &Owner, id: &str) -> Result<(), HistoryError> {
        let (done, told) = channel();
        self.write(Order::Delete(owner.clone(), id.to_owned(), done));
        // Where the thread could not be made nothing was kept.
        told.recv().unwrap_or(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let orders = self
            .orders
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        drop(orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told.
            let _ = thread.join();
        }
    }
}

/// Unix time, in seconds: what is oldest goes first.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_outlive_the_server_and_deleted_ones_do_not() {
        let history = History::in_memory().unwrap();
        let me = Owner::new("me");
        let store = ResponseStore::kept_in(history.clone());
        for id in ["a", "b"] {
            store.insert(&me, id.to_owned(), StoredResponse::new(&id, &[], &[]));
        }
        assert!(store.delete(&me, "b").unwrap() && !store.delete(&me, "b").unwrap());
        drop(store);
        let store = ResponseStore::kept_in(history);
        assert_eq!(&*store.get(&me, "a").unwrap().response, "\"a\"");
        assert!(store.get(&Owner::new("other"), "a").is_none());
        assert!(store.get(&me, "b").is_none());
        assert!(store.delete(&me, "a").unwrap() && store.get(&me, "a").is_none());
    }
}
