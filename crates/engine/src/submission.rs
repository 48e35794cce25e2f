//! What goes from the handles to the engine's thread, and the channels on which it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::queue::QueueTicket;
use crate::request::{EngineEvent, GenerationRequest};
use crate::sampling::SamplingPlan;

/// What a handle tells the engine thread.
pub(crate) enum EngineCommand {
    Submit(Vec<Submission>),
    /// Accept nothing more, and end when all requests have.
    Shutdown,
}

/// A request that has passed admission.
pub(crate) struct Submission {
    pub(crate) request: GenerationRequest,
    /// Its parameters, made ready.
    pub(crate) plan: SamplingPlan,
    pub(crate) events: EventSender,
    pub(crate) stopped: StopFlags,
    /// One for each answer.
    pub(crate) tickets: Vec<QueueTicket>,
    /// How many places its first answer is behind the first in line.
    pub(crate) place: usize,
    pub(crate) submitted: Instant,
}

/// Which answers of a request its client has had enough of.
#[derive(Debug, Clone)]
pub(crate) struct StopFlags(Arc<Stopped>);

#[derive(Debug)]
struct Stopped {
    /// Whether any of them was stopped: the others need not be looked at.
    any: AtomicBool,
    each: Vec<AtomicBool>,
}

impl StopFlags {
    pub(crate) fn new(n: usize) -> Self {
        Self(Arc::new(Stopped {
            any: AtomicBool::new(false),
            each: (0..n).map(|_| AtomicBool::new(false)).collect(),
        }))
    }

    pub(crate) fn set(&self, index: usize) {
        self.0.each[index].store(true, Ordering::Release);
        self.0.any.store(true, Ordering::Release);
    }

    pub(crate) fn any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    pub(crate) fn is_set(&self, index: usize) -> bool {
        self.0.each[index].load(Ordering::Acquire)
    }
}

/// The engine's end of a request's channel of events.
pub(crate) struct EventSender {
    events: UnboundedSender<EngineEvent>,
    unread: Arc<AtomicUsize>,
}

/// The client's end of it.
#[derive(Debug)]
pub(crate) struct EventReceiver {
    events: UnboundedReceiver<EngineEvent>,
    unread: Arc<AtomicUsize>,
}

/// A channel for the events of a request, which knows how many of them nobody has read.
pub(crate) fn events() -> (EventSender, EventReceiver) {
    let (sender, receiver) = unbounded_channel();
    let unread = Arc::<AtomicUsize>::default();
    let sender = EventSender {
        events: sender,
        unread: Arc::clone(&unread),
    };
    let receiver = EventReceiver {
        events: receiver,
        unread,
    };
    (sender, receiver)
}

impl EventReceiver {
    /// The next event, or `None` if the engine has gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<EngineEvent> {
        let event = self.events.recv().await;
        self.note(event)
    }

    /// The same for plain threads.
    pub(crate) fn blocking_next(&mut self) -> Option<EngineEvent> {
        let event = self.events.blocking_recv();
        self.note(event)
    }

    fn note(&self, event: Option<EngineEvent>) -> Option<EngineEvent> {
        event.inspect(|_| {
            self.unread.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

impl EventSender {
    pub(crate) fn send(&self, event: EngineEvent) {
        self.unread.fetch_add(1, Ordering::Relaxed);
        // A client that has gone away is noticed before the next step.
        let _ = self.events.send(event);
    }

    /// Whether the client has gone away.
    pub(crate) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Events that the client has not read yet.
    pub(crate) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }
}
