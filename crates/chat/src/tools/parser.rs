//! Finds the calls in the text of an answer.

use super::call_body::CallBody;
use super::call_sink::{BodyStep, CallSink};
use super::json_calls::JsonCalls;
use super::named_call::NamedCall;
use super::pythonic::PythonicCalls;
use super::{Tool, ToolEvent, ToolFormat};

/// Separates an answer into text and tool calls, as it is generated.
///
/// Text is held back only as long as it could be the beginning of a call. Blank space in front of
/// the first call, between calls and after them is no text.
pub struct ToolParser {
    format: ToolFormat,
    state: ParserState,
    sink: CallSink,
    /// Blank space that is text if no call follows.
    blank: String,
    /// No text was found since the answer or the last call: here an opener may be bare.
    at_boundary: bool,
}

enum ParserState {
    /// The text ends in what may be the beginning of an opener.
    Text(String),
    Call {
        body: CallBody,
        /// What was read since the last event, to be text after all if this is no call.
        raw: String,
        /// How much of `raw` is the opener: searching for another one goes on after it.
        opener: usize,
    },
    /// After the calls, how much of the closer has been read.
    Closer(String),
}

impl ToolParser {
    /// A parser of one answer. Without an opener of its own, JSON is taken for a call only if it
    /// names one of `tools`.
    pub fn new(format: ToolFormat, tools: &[Tool]) -> Self {
        let names = || tools.iter().map(|tool| tool.name.clone()).collect();
        let is_bare = !format.bare_openers().is_empty();
        // The prompt ends with the first opener.
        let is_open = format == ToolFormat::FunctionaryV32;
        let state = match is_open {
            true => ParserState::Call {
                body: CallBody::Named(NamedCall::recipient()),
                raw: String::new(),
                opener: 0,
            },
            false => ParserState::Text(String::new()),
        };
        Self {
            format,
            state,
            sink: CallSink::new((is_bare || is_open).then(names)),
            blank: String::new(),
            at_boundary: true,
        }
    }

    /// Takes the next piece of the answer and returns what it settles.
    pub fn push(&mut self, text: &str) -> Vec<ToolEvent> {
        for character in text.chars() {
            self.step(character);
        }
        std::mem::take(&mut self.sink.events)
    }

    /// Returns what was held back at the end of the answer. A call that the answer breaks off is
    /// ended if it has been announced, and text if not.
    pub fn finish(&mut self) -> Vec<ToolEvent> {
        let state = std::mem::replace(&mut self.state, ParserState::Text(String::new()));
        match state {
            ParserState::Text(held) => {
                if self.sink.calls() == 0 || !held.is_empty() {
                    self.emit_blank();
                }
                self.sink.text(&held);
            }
            ParserState::Call { raw, .. } => {
                self.sink.end();
                // A comma without a call behind it is nothing.
                if self.sink.calls() == 0 || raw.trim() != "," {
                    self.sink.text(&raw);
                }
            }
            ParserState::Closer(_) => {}
        }
        std::mem::take(&mut self.sink.events)
    }

    fn step(&mut self, character: char) {
        match &mut self.state {
            ParserState::Text(_) => self.step_text(character),
            ParserState::Closer(_) => self.step_closer(character),
            ParserState::Call { .. } => self.step_call(character),
        }
    }

    fn step_call(&mut self, character: char) {
        let ParserState::Call { body, raw, opener } = &mut self.state else {
            return;
        };
        raw.push(character);
        let calls = self.sink.calls();
        let step = body.step(character, &mut self.sink);
        if step == BodyStep::Failed {
            self.fail();
            return;
        }
        // From here on it is a call, whatever may follow.
        if self.sink.calls() > calls || self.sink.is_open() {
            raw.clear();
            *opener = 0;
        }
        if step == BodyStep::Done {
            self.at_boundary = true;
            self.state = ParserState::Closer(String::new());
        }
    }

    fn step_text(&mut self, character: char) {
        let ParserState::Text(held) = &mut self.state else {
            return;
        };
        if self.at_boundary && held.is_empty() {
            let separates = self.sink.calls() > 0
                && !self.format.bare_openers().is_empty()
                && matches!(character, ';' | ',');
            if character.is_whitespace() || separates {
                self.blank.push(character);
                return;
            }
            if self.format.bare_openers().contains(&character) {
                self.open(character.to_string(), Some(character));
                return;
            }
        }
        held.push(character);
        let openers = self.format.openers();
        loop {
            let ParserState::Text(held) = &mut self.state else {
                return;
            };
            if let Some(opener) = openers.iter().find(|opener| **opener == held.as_str()) {
                self.open((*opener).to_owned(), None);
                return;
            }
            if held.is_empty()
                || openers
                    .iter()
                    .any(|opener| opener.starts_with(held.as_str()))
            {
                return;
            }
            let first = held.remove(0);
            self.emit_text(first);
        }
    }

    /// Enters a call. A bare opener is part of the body.
    fn open(&mut self, opener: String, first: Option<char>) {
        let body = match self.format {
            ToolFormat::Hermes
            | ToolFormat::SmolLm
            | ToolFormat::Granite
            | ToolFormat::GenericJson => CallBody::Json(JsonCalls::new(true)),
            ToolFormat::Llama3Json => CallBody::Json(JsonCalls::new(false)),
            ToolFormat::Llama3Pythonic => CallBody::Pythonic(PythonicCalls::new()),
            ToolFormat::Mistral | ToolFormat::MistralArgs => CallBody::Mistral,
            ToolFormat::Functionary => CallBody::Named(NamedCall::functionary()),
            ToolFormat::FunctionaryV32 => CallBody::Named(NamedCall::recipient()),
        };
        let raw = std::mem::take(&mut self.blank) + &opener;
        self.state = ParserState::Call {
            body,
            opener: raw.len(),
            raw,
        };
        if let (Some(first), ParserState::Call { body, .. }) = (first, &mut self.state) {
            let _ = body.step(first, &mut self.sink);
        }
    }

    /// The call is none: its opener is text, and what follows is read again. Of a call that has
    /// been announced only the rest is text.
    fn fail(&mut self) {
        let state = std::mem::replace(&mut self.state, ParserState::Text(String::new()));
        let ParserState::Call { raw, opener, .. } = state else {
            return;
        };
        self.sink.end();
        self.at_boundary = false;
        self.sink.text(&raw[..opener]);
        for character in raw[opener..].chars() {
            self.step(character);
        }
    }

    fn step_closer(&mut self, character: char) {
        let ParserState::Closer(read) = &mut self.state else {
            return;
        };
        read.push(character);
        let closer = self.format.closer();
        let text = read.trim_start();
        if closer.is_empty() || !closer.starts_with(text) {
            let read = std::mem::take(read);
            self.state = ParserState::Text(String::new());
            for character in read.chars() {
                self.step(character);
            }
        } else if text == closer {
            self.state = ParserState::Text(String::new());
        }
    }

    fn emit_text(&mut self, character: char) {
        self.emit_blank();
        self.at_boundary = false;
        self.sink.text(character.encode_utf8(&mut [0; 4]));
    }

    fn emit_blank(&mut self) {
        self.sink.text(&std::mem::take(&mut self.blank));
    }
}
