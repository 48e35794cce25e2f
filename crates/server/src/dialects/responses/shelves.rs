//! The responses that are in memory, within bounds. The client that takes the most loses its oldest first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matou_history::Owner;

use super::stored::StoredResponse;

/// Most responses that are kept.
const MAX_RESPONSES: usize = 1024;
/// Most bytes that they and the conversations behind them may take.
const MAX_BYTES: usize = 64 << 20;

/// The responses of all clients, in memory.
#[derive(Debug)]
pub(super) struct Shelves {
    shelves: Mutex<HashMap<Owner, Shelf>>,
    max_bytes: usize,
}

/// Those of one client.
#[derive(Debug, Default)]
struct Shelf {
    responses: HashMap<String, Arc<StoredResponse>>,
    /// Oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

impl Default for Shelves {
    fn default() -> Self {
        Self::with_room(MAX_BYTES)
    }
}

impl Shelves {
    fn with_room(max_bytes: usize) -> Self {
        Self {
            shelves: Mutex::default(),
            max_bytes,
        }
    }

    /// Keeps a response, and drops old ones if room is needed. One that has no room at all is not
    /// kept.
    pub(super) fn insert(&self, client: &Owner, id: String, stored: Arc<StoredResponse>) {
        let bytes = stored.bytes();
        if bytes > self.max_bytes {
            return;
        }
        let mut shelves = self.lock();
        let shelf = shelves.entry(client.clone()).or_default();
        shelf.remove(&id);
        shelf.bytes += bytes;
        shelf.order.push_back(id.clone());
        shelf.responses.insert(id, stored);
        while total(&shelves, |shelf| shelf.order.len()) > MAX_RESPONSES
            || total(&shelves, |shelf| shelf.bytes) > self.max_bytes
        {
            let fullest = shelves.values_mut().max_by_key(|shelf| shelf.bytes);
            let Some(shelf) = fullest else { break };
            let Some(oldest) = shelf.order.front().cloned() else {
                break;
            };
            shelf.remove(&oldest);
        }
    }

    /// A client's response by its id.
    pub(super) fn get(&self, client: &Owner, id: &str) -> Option<Arc<StoredResponse>> {
        self.lock().get(client)?.responses.get(id).cloned()
    }

    /// Deletes a client's response; false if there was none.
    pub(super) fn delete(&self, client: &Owner, id: &str) -> bool {
        let mut shelves = self.lock();
        shelves
            .get_mut(client)
            .is_some_and(|shelf| shelf.remove(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Shelf>> {
        // Nothing between lock and unlock leaves a shelf half changed.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(shelves: &HashMap<Owner, Shelf>, number: fn(&Shelf) -> usize) -> usize {
    shelves.values().map(number).sum()
}

impl Shelf {
    fn remove(&mut self, id: &str) -> bool {
        let Some(stored) = self.responses.remove(id) else {
            return false;
        };
        self.bytes -= stored.bytes();
        self.order.retain(|kept| kept != id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::OVERHEAD;
    use super::*;

    fn me() -> Owner {
        Owner::new("me")
    }

    fn other() -> Owner {
        Owner::new("other")
    }

    /// A response that takes so many bytes.
    fn stored(bytes: usize) -> Arc<StoredResponse> {
        let stored = StoredResponse::new(&"x".repeat(bytes - OVERHEAD - 6), &[], &[]);
        assert_eq!(stored.bytes(), bytes);
        Arc::new(stored)
    }

    #[test]
    fn the_oldest_go_when_room_is_needed() {
        let store = Shelves::with_room(10_000);
        for id in ["a", "b", "c"] {
            store.insert(&me(), id.to_owned(), stored(4000));
        }
        let kept = ["a", "b", "c"].map(|id| store.get(&me(), id).is_some());
        assert_eq!(kept, [false, true, true]);
        assert!(store.delete(&me(), "b") && !store.delete(&me(), "b") && !store.delete(&me(), "a"));
        store.insert(&me(), "d".to_owned(), stored(6000));
        assert!(store.get(&me(), "c").is_some() && store.get(&me(), "d").is_some());
        store.insert(&me(), "e".to_owned(), stored(10_001));
        assert!(store.get(&me(), "e").is_none() && store.get(&me(), "d").is_some());
        store.insert(&me(), "d".to_owned(), stored(6000));
        assert_eq!(total(&store.lock(), |shelf| shelf.bytes), 10_000);
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let store = Shelves::default();
        for id in 0..=MAX_RESPONSES {
            store.insert(&me(), id.to_string(), stored(600));
        }
        assert!(store.get(&me(), "0").is_none() && store.get(&me(), "1").is_some());
        assert_eq!(
            total(&store.lock(), |shelf| shelf.order.len()),
            MAX_RESPONSES
        );
    }

    #[test]
    fn a_response_is_its_makers_who_cannot_crowd_out_others() {
        let store = Shelves::with_room(10_000);
        store.insert(&other(), "mine".to_owned(), stored(2000));
        for id in 0..20 {
            store.insert(&me(), id.to_string(), stored(3000));
        }
        assert!(store.get(&other(), "mine").is_some());
        assert!(store.get(&me(), "mine").is_none() && !store.delete(&me(), "mine"));
        assert!(store.get(&me(), "19").is_some() && store.get(&other(), "19").is_none());
    }
}
