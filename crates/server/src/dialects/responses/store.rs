//! The responses that are kept, in memory and within bounds. Each belongs to the client that made it:
//! to others it does not exist. What is kept is JSON text, so that its length is what it takes; the
//! client that takes the most loses its oldest first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;
use matou_engine::ClientId;

/// Most responses that are kept.
const MAX_RESPONSES: usize = 1024;
/// Most bytes that they and the conversations behind them may take.
const MAX_BYTES: usize = 64 << 20;
/// What a response takes beside its text: its id (twice), pointers, and what allocators add.
const OVERHEAD: usize = 512;

/// A response that is kept.
#[derive(Debug)]
pub(crate) struct StoredResponse {
    /// As its client got it, in JSON.
    pub(crate) response: Box<str>,
    input: Box<str>,
    messages: Box<str>,
}

impl StoredResponse {
    /// A response, the items of its request's input, each with an id, and the conversation up to and
    /// with it, without instructions.
    pub(crate) fn new(response: &impl Serialize, input: &[Value], messages: &[Value]) -> Self {
        Self {
            response: text(response),
            input: text(&input),
            messages: text(&messages),
        }
    }

    /// The items of its request's input, each with an id.
    pub(crate) fn input(&self) -> Vec<Value> {
        values(&self.input)
    }

    /// The conversation up to and with it, without instructions.
    pub(crate) fn messages(&self) -> Vec<Value> {
        values(&self.messages)
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.response.len() + self.input.len() + self.messages.len()
    }
}

fn text(value: &impl Serialize) -> Box<str> {
    let text = serde_json::to_string(value).expect("wire types serialise");
    text.into_boxed_str()
}

fn values(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("it was written as JSON")
}

/// What is said where the client has none with this id.
pub(crate) fn unknown(id: &str) -> ApiError {
    ApiError::not_found("id", format!("Response with id '{id}' not found."))
}

/// All of them.
#[derive(Debug)]
pub(crate) struct ResponseStore {
    shelves: Mutex<HashMap<ClientId, Shelf>>,
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

impl Default for ResponseStore {
    fn default() -> Self {
        Self::with_room(MAX_BYTES)
    }
}

impl ResponseStore {
    fn with_room(max_bytes: usize) -> Self {
        Self {
            shelves: Mutex::default(),
            max_bytes,
        }
    }

    /// Keeps a response, and drops old ones if room is needed. One that has no room at all is not
    /// kept.
    pub(crate) fn insert(&self, client: ClientId, id: String, stored: StoredResponse) {
        let bytes = stored.bytes();
        if bytes > self.max_bytes {
            return;
        }
        let mut shelves = self.lock();
        let shelf = shelves.entry(client).or_default();
        shelf.remove(&id);
        shelf.bytes += bytes;
        shelf.order.push_back(id.clone());
        shelf.responses.insert(id, Arc::new(stored));
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
    pub(crate) fn get(&self, client: ClientId, id: &str) -> Option<Arc<StoredResponse>> {
        self.lock().get(&client)?.responses.get(id).cloned()
    }

    /// Deletes a client's response; false if there was none.
    pub(crate) fn delete(&self, client: ClientId, id: &str) -> bool {
        let mut shelves = self.lock();
        shelves
            .get_mut(&client)
            .is_some_and(|shelf| shelf.remove(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Shelf>> {
        // Nothing between lock and unlock leaves a shelf half changed.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(shelves: &HashMap<ClientId, Shelf>, number: fn(&Shelf) -> usize) -> usize {
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
    use super::*;

    const ME: ClientId = ClientId(1);
    const OTHER: ClientId = ClientId(2);

    /// A response that takes so many bytes.
    fn stored(bytes: usize) -> StoredResponse {
        let stored = StoredResponse::new(&"x".repeat(bytes - OVERHEAD - 6), &[], &[]);
        assert_eq!(stored.bytes(), bytes);
        stored
    }

    #[test]
    fn the_oldest_go_when_room_is_needed() {
        let store = ResponseStore::with_room(10_000);
        for id in ["a", "b", "c"] {
            store.insert(ME, id.to_owned(), stored(4000));
        }
        let kept = ["a", "b", "c"].map(|id| store.get(ME, id).is_some());
        assert_eq!(kept, [false, true, true]);
        assert!(store.delete(ME, "b") && !store.delete(ME, "b") && !store.delete(ME, "a"));
        store.insert(ME, "d".to_owned(), stored(6000));
        assert!(store.get(ME, "c").is_some() && store.get(ME, "d").is_some());
        store.insert(ME, "e".to_owned(), stored(10_001));
        assert!(store.get(ME, "e").is_none() && store.get(ME, "d").is_some());
        store.insert(ME, "d".to_owned(), stored(6000));
        assert_eq!(total(&store.lock(), |shelf| shelf.bytes), 10_000);
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let store = ResponseStore::default();
        for id in 0..=MAX_RESPONSES {
            store.insert(ME, id.to_string(), stored(600));
        }
        assert!(store.get(ME, "0").is_none() && store.get(ME, "1").is_some());
        assert_eq!(
            total(&store.lock(), |shelf| shelf.order.len()),
            MAX_RESPONSES
        );
    }

    #[test]
    fn a_response_is_its_makers_who_cannot_crowd_out_others() {
        let store = ResponseStore::with_room(10_000);
        store.insert(OTHER, "mine".to_owned(), stored(2000));
        for id in 0..20 {
            store.insert(ME, id.to_string(), stored(3000));
        }
        assert!(store.get(OTHER, "mine").is_some());
        assert!(store.get(ME, "mine").is_none() && !store.delete(ME, "mine"));
        assert!(store.get(ME, "19").is_some() && store.get(OTHER, "19").is_none());
    }
}
