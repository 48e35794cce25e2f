//! Where a server is in its life, and what that means for the answers that run.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use matou_llm::LlmError;
use matou_llm::generation::{EventStream, GenerationEvent};
use tokio::sync::watch;

/// A stage of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Requests are accepted.
    Serving,
    /// No new connections; what runs may finish.
    Draining,
    /// What still runs is ended with an error.
    Cut,
}

/// Where a server is in its life: set in one place, followed in many.
#[derive(Clone)]
pub(crate) struct Lifecycle(Arc<watch::Sender<Stage>>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Serving)))
    }
}

impl Lifecycle {
    /// Enters a stage.
    pub(crate) fn enter(&self, stage: Stage) {
        self.0.send_replace(stage);
    }

    /// Follows the stages.
    pub(crate) fn follow(&self) -> watch::Receiver<Stage> {
        self.0.subscribe()
    }

    /// Whether answers are cut.
    pub(crate) fn is_cut(&self) -> bool {
        *self.0.borrow() == Stage::Cut
    }

    /// Resolves when answers are cut.
    pub(crate) async fn cut(&self) {
        // An error would mean that nobody is left who could cut; this holds a sender.
        let _ = self.follow().wait_for(|stage| *stage == Stage::Cut).await;
    }

    /// `events`, until they end or the server's shutdown cuts them.
    pub(crate) fn until_cut(&self, events: EventStream) -> EventStream {
        stream::unfold(Some((events, self.clone())), |state| async move {
            let (mut events, lifecycle) = state?;
            let event = tokio::select! {
                biased;
                () = lifecycle.cut() => {
                    return Some((GenerationEvent::Failed(LlmError::shutting_down()), None));
                }
                event = events.next() => event?,
            };
            Some((event, Some((events, lifecycle))))
        })
        .boxed()
    }
}
