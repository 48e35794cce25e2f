//! The responses that are kept, in memory and within bounds: the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::error::ApiError;

/// Most responses that are kept.
const MAX_RESPONSES: usize = 1024;
/// Most bytes that they and the conversations behind them may take, as JSON.
const MAX_BYTES: usize = 64 << 20;

/// A response that is kept.
#[derive(Debug)]
pub(crate) struct StoredResponse {
    /// As its client got it.
    pub(crate) response: Value,
    /// The items of its request's input, each with an id.
    pub(crate) input: Vec<Value>,
    /// The conversation up to and with it, without instructions.
    pub(crate) messages: Vec<Value>,
}

/// What is said where none has this id.
pub(crate) fn unknown(id: &str) -> ApiError {
    ApiError::not_found("id", format!("Response with id '{id}' not found."))
}

/// All of them.
#[derive(Debug)]
pub(crate) struct ResponseStore {
    kept: Mutex<Kept>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    responses: HashMap<String, (Arc<StoredResponse>, usize)>,
    /// Oldest first; may name some that were deleted.
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
            kept: Mutex::default(),
            max_bytes,
        }
    }

    /// Keeps a response, and drops the oldest ones if room is needed. One that has no room at all
    /// is not kept.
    pub(crate) fn insert(&self, id: String, stored: StoredResponse) {
        let parts = stored.input.iter().chain(&stored.messages);
        let bytes = json_bytes(&stored.response) + parts.map(json_bytes).sum::<usize>();
        if bytes > self.max_bytes {
            return;
        }
        let mut kept = self.lock();
        kept.remove(&id);
        while kept.responses.len() >= MAX_RESPONSES || kept.bytes + bytes > self.max_bytes {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.bytes += bytes;
        kept.order.push_back(id.clone());
        kept.responses.insert(id, (Arc::new(stored), bytes));
    }

    /// A response by its id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<StoredResponse>> {
        let kept = self.lock();
        kept.responses.get(id).map(|(stored, _)| Arc::clone(stored))
    }

    /// Deletes a response; false if there was none.
    pub(crate) fn delete(&self, id: &str) -> bool {
        self.lock().remove(id)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing between lock and unlock leaves the maps half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, id: &str) -> bool {
        let Some((_, bytes)) = self.responses.remove(id) else {
            return false;
        };
        self.bytes -= bytes;
        self.order.retain(|kept| kept != id);
        true
    }
}

/// About how much memory a value takes: its text, and a place for each value in another.
fn json_bytes(value: &Value) -> usize {
    let placed = |value: &Value| size_of::<Value>() + json_bytes(value);
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(values) => values.iter().map(placed).sum::<usize>() + 2,
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| name.len() + size_of::<String>() + placed(value);
            fields.iter().map(field).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(bytes: usize) -> StoredResponse {
        StoredResponse {
            input: Vec::new(),
            response: json!("x".repeat(bytes - 2)),
            messages: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_go_when_room_is_needed() {
        let store = ResponseStore::with_room(100);
        for id in ["a", "b", "c"] {
            store.insert(id.to_owned(), stored(40));
        }
        let kept = ["a", "b", "c"].map(|id| store.get(id).is_some());
        assert_eq!(kept, [false, true, true]);
        assert!(store.delete("b") && !store.delete("b") && !store.delete("a"));
        store.insert("d".to_owned(), stored(60));
        assert!(store.get("c").is_some() && store.get("d").is_some());
        store.insert("e".to_owned(), stored(101));
        assert!(store.get("e").is_none() && store.get("d").is_some());
        store.insert("d".to_owned(), stored(60));
        assert_eq!(store.lock().bytes, 100);
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let store = ResponseStore::default();
        for id in 0..=MAX_RESPONSES {
            store.insert(id.to_string(), stored(10));
        }
        assert!(store.get("0").is_none() && store.get("1").is_some());
        assert_eq!(store.lock().order.len(), MAX_RESPONSES);
    }
}
