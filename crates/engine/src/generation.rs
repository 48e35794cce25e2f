//! The client's side of a request: its events, and the end of answers that are enough.

use crate::error::GenerationError;
use crate::request::EngineEvent;
use crate::submission::{EventReceiver, StopFlags};

/// The events of one request. Dropping it cancels the request within one step.
#[derive(Debug)]
pub struct Generation {
    events: EventReceiver,
    stopped: StopFlags,
    unfinished: usize,
}

impl Generation {
    /// The events of a request for `n` answers.
    pub(crate) fn new(events: EventReceiver, stopped: StopFlags, n: usize) -> Self {
        Self {
            events,
            stopped,
            unfinished: n,
        }
    }

    /// The next event, or `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<EngineEvent> {
        if self.unfinished == 0 {
            return None;
        }
        let event = self.events.next().await;
        Some(self.account(event))
    }

    /// The same for plain threads.
    ///
    /// # Panics
    ///
    /// When called from async code.
    pub fn blocking_next(&mut self) -> Option<EngineEvent> {
        if self.unfinished == 0 {
            return None;
        }
        let event = self.events.blocking_next();
        Some(self.account(event))
    }

    /// Ends one of the answers within one step, as complete: it has met a stop string, say. Its
    /// remaining events still come, the last a [`EngineEvent::Finished`].
    ///
    /// # Panics
    ///
    /// When the request has no answer `index`.
    pub fn stop(&self, index: usize) {
        self.stopped.set(index);
    }

    /// Keeps the promise of a terminal event even if the engine's thread dies.
    fn account(&mut self, event: Option<EngineEvent>) -> EngineEvent {
        let event = event.unwrap_or(EngineEvent::Failed {
            error: GenerationError::EngineStopped,
        });
        match event {
            EngineEvent::Finished { .. } => self.unfinished -= 1,
            EngineEvent::Failed { .. } => self.unfinished = 0,
            EngineEvent::Prompt { .. }
            | EngineEvent::Embedding { .. }
            | EngineEvent::Token { .. } => {}
        }
        event
    }
}
