//! Streamed responses: news to named events, numbered in one row. Pure but for what is done with a
//! finished response.

use serde_json::{Map, Value};

use super::answer::ResponseBuilder;
use super::wire::ResponseObject;
use crate::sse::{EventEncoder, Frames};
use matou_llm::generation::GenerationEvent;

/// Called with the response once it has ended, unless it failed.
pub(super) type OnEnd = Box<dyn FnOnce(&ResponseObject) + Send>;

/// Encodes a response.
pub(super) struct ResponseEncoder {
    builder: ResponseBuilder,
    sequence_number: usize,
    on_end: Option<OnEnd>,
}

impl ResponseEncoder {
    /// For the response that `builder` puts together.
    pub(super) fn new(builder: ResponseBuilder, on_end: OnEnd) -> Self {
        Self {
            builder,
            sequence_number: 0,
            on_end: Some(on_end),
        }
    }
}

impl EventEncoder for ResponseEncoder {
    fn encode(&mut self, event: GenerationEvent, frames: &mut Frames) {
        let is_end = matches!(event, GenerationEvent::Finished { .. });
        // A failure is among the news.
        let _ = self.builder.accept(event);
        for (name, fields) in self.builder.take_news() {
            let mut message = Map::new();
            message.insert("type".to_owned(), name.into());
            message.insert("sequence_number".to_owned(), self.sequence_number.into());
            if let Value::Object(fields) = fields {
                message.extend(fields);
            }
            frames.event(name, &message);
            self.sequence_number += 1;
        }
        if let Some(on_end) = self.on_end.take_if(|_| is_end) {
            on_end(self.builder.response());
        }
    }

    fn close(&mut self, _frames: &mut Frames) {}
}
