//! Has what is answered noted in the provenance log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use matou_llm::generation::GenerationEvent;
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};
use matou_provenance::{Fingerprinter, ProvenanceLog, Record, Source};

use crate::clock::unix_time;
use crate::label::Label;

/// Follows the events of a request, and notes what is said to its client: no thoughts, and no calls of
/// tools. Dropped, it notes what there is: of an answer whose client went away, as far as it came.
pub(crate) struct Recorder {
    log: Arc<ProvenanceLog>,
    label: Label,
    request: String,
    clock: fn() -> SystemTime,
    format: MessageFormat,
    choices: BTreeMap<usize, Choice>,
}

/// An answer in the making.
struct Choice {
    /// Tells what is said from thoughts and calls.
    parser: MessageParser,
    said: Fingerprinter,
}

impl Choice {
    fn add(&mut self, parts: Vec<MessagePart>) {
        for part in parts {
            if let MessagePart::Text(text) = part {
                self.said.push(&text);
            }
        }
    }
}

impl Recorder {
    pub(crate) fn new(
        log: Arc<ProvenanceLog>,
        label: Label,
        request: String,
        clock: fn() -> SystemTime,
        format: MessageFormat,
    ) -> Self {
        Self {
            format,
            log,
            label,
            request,
            clock,
            choices: BTreeMap::new(),
        }
    }

    pub(crate) fn see(&mut self, event: &GenerationEvent) {
        match event {
            GenerationEvent::Text { index, text, .. } => {
                let begin = || Choice {
                    parser: MessageParser::new(&self.format),
                    said: Fingerprinter::new(self.log.salt()),
                };
                let choice = self.choices.entry(*index).or_insert_with(begin);
                let parts = choice.parser.push(text);
                choice.add(parts);
            }
            GenerationEvent::Finished { index, .. } => {
                if let Some(choice) = self.choices.remove(index) {
                    self.note(choice);
                }
            }
            GenerationEvent::Prompt(_) | GenerationEvent::Failed(_) => {}
        }
    }

    fn note(&self, mut choice: Choice) {
        let rest = choice.parser.finish();
        choice.add(rest);
        let choice = choice.said;
        if choice.is_empty() {
            return;
        }
        let source = Source {
            at: unix_time(self.clock),
            request: self.request.clone(),
            model: self.label.model.clone(),
            persona: self.label.persona.clone(),
            fingerprint: self.label.fingerprint.clone(),
        };
        self.log.write(Record::new(source, choice.finish()));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for (_, choice) in std::mem::take(&mut self.choices) {
            self.note(choice);
        }
    }
}
