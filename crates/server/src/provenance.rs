//! Has what is answered noted in the provenance log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use matou_llm::generation::GenerationEvent;
use matou_provenance::{Fingerprinter, ProvenanceLog, Record, Source};

use crate::clock::unix_time;
use crate::label::Label;

/// Follows the events of a request. Dropped, it notes what there is: of an answer whose client went away,
/// as far as it came.
pub(crate) struct Recorder {
    log: Arc<ProvenanceLog>,
    label: Label,
    request: String,
    clock: fn() -> SystemTime,
    choices: BTreeMap<usize, Fingerprinter>,
}

impl Recorder {
    pub(crate) fn new(
        log: Arc<ProvenanceLog>,
        label: Label,
        request: String,
        clock: fn() -> SystemTime,
    ) -> Self {
        Self {
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
                let salt = self.log.salt();
                let choice = self.choices.entry(*index);
                choice
                    .or_insert_with(|| Fingerprinter::new(salt))
                    .push(text);
            }
            GenerationEvent::Finished { index, .. } => {
                if let Some(choice) = self.choices.remove(index) {
                    self.note(choice);
                }
            }
            GenerationEvent::Prompt(_) | GenerationEvent::Failed(_) => {}
        }
    }

    fn note(&self, choice: Fingerprinter) {
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
