//! A response that is kept. It is JSON text, so that its length is what it takes.

use matou_history as kept;
use serde::Serialize;
use serde_json::Value;

/// What a response takes beside its text: its id (twice), pointers, and what allocators add.
pub(super) const OVERHEAD: usize = 512;

/// A response that is kept.
#[derive(Debug)]
pub(super) struct StoredResponse {
    /// As its client got it, in JSON.
    pub(super) response: Box<str>,
    pub(super) input: Box<str>,
    pub(super) messages: Box<str>,
}

impl StoredResponse {
    /// A response, the items of its request's input, each with an id, and the conversation up to and
    /// with it, without instructions.
    pub(super) fn new(response: &impl Serialize, input: &[Value], messages: &[Value]) -> Self {
        Self {
            response: text(response),
            input: text(&input),
            messages: text(&messages),
        }
    }

    /// The items of its request's input, each with an id.
    pub(super) fn input(&self) -> Vec<Value> {
        values(&self.input)
    }

    /// The conversation up to and with it, without instructions.
    pub(super) fn messages(&self) -> Vec<Value> {
        values(&self.messages)
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
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

impl From<kept::StoredResponse> for StoredResponse {
    fn from(kept: kept::StoredResponse) -> Self {
        Self {
            response: kept.response.into_boxed_str(),
            input: kept.input.into_boxed_str(),
            messages: kept.messages.into_boxed_str(),
        }
    }
}
