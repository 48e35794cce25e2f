//! Where the calls of an answer are announced, and what its characters mean to the one being read.

use super::ToolEvent;

/// What a character meant to the body of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyStep {
    /// It belongs to the body, which goes on.
    More,
    /// It is the body's last.
    Done,
    /// It can't follow: what was not turned into events is no call.
    Failed,
}

/// Where calls are announced.
pub(super) struct CallSink {
    pub(super) events: Vec<ToolEvent>,
    calls: usize,
    is_open: bool,
    /// The tools' names, if only these make a call.
    known_names: Option<Vec<String>>,
}

impl CallSink {
    pub(super) fn new(known_names: Option<Vec<String>>) -> Self {
        Self {
            events: Vec::new(),
            calls: 0,
            is_open: false,
            known_names,
        }
    }

    /// How many calls have begun.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Whether a call has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether what is read stands where only calls do.
    pub(super) fn expects_calls(&self) -> bool {
        self.known_names.is_none()
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        match &self.known_names {
            Some(names) => names.iter().any(|known| known == name),
            None => !name.is_empty(),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(ToolEvent::Text(last)) => last.push_str(text),
            _ => self.events.push(ToolEvent::Text(text.to_owned())),
        }
    }

    pub(super) fn start(&mut self, name: &str, id: Option<String>) {
        self.events.push(ToolEvent::CallStart {
            index: self.calls,
            id,
            name: name.to_owned(),
        });
        self.calls += 1;
        self.is_open = true;
    }

    pub(super) fn arguments(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(ToolEvent::ArgumentsDelta { fragment, .. }) => fragment.push_str(text),
            _ => self.events.push(ToolEvent::ArgumentsDelta {
                index: self.calls - 1,
                fragment: text.to_owned(),
            }),
        }
    }

    /// Ends the call that is open, if one is.
    pub(super) fn end(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.events.push(ToolEvent::CallEnd {
                index: self.calls - 1,
            });
        }
    }
}
