//! The parts of an assistant's message, told apart as its text is generated.
//!
//! ```text
//! text ──▶ ReasoningSplitter ──▶ reasoning
//!                │ content
//!                └──▶ ToolParser ──▶ text · calls
//! ```
//!
//! Each stage is there only if the model writes what it looks for. What is no call after all comes
//! out as text.

use matou_chat::reasoning::{ReasoningEvent, ReasoningFormat, ReasoningSplitter};
use matou_chat::tools::{Tool, ToolEvent, ToolFormat, ToolParser};
use uuid::Uuid;

/// How the messages of a request are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageFormat {
    /// How the model marks reasoning, and whether the prompt has opened the block.
    pub reasoning: Option<(ReasoningFormat, bool)>,
    /// How it writes calls, and of which tools.
    pub tools: Option<(ToolFormat, Vec<Tool>)>,
    /// Whether there is nothing but calls: what is cut off before it has become one is no text.
    pub only_calls: bool,
}

impl MessageFormat {
    /// What marks reasoning and calls in the text.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        let reasoning = self.reasoning.map(|(format, _)| format.opener());
        let tools = self.tools.as_ref().map(|(format, _)| format.openers());
        reasoning
            .into_iter()
            .chain(tools.unwrap_or_default().iter().copied())
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// What it answers.
    Text(String),
    /// It begins a call.
    CallStart {
        /// Which call, from 0.
        index: usize,
        /// Names the call; the tool's answer will repeat it.
        id: String,
        /// The function's name.
        name: String,
    },
    /// More of a call's arguments: JSON text.
    Arguments {
        /// Which call.
        index: usize,
        /// The text.
        fragment: String,
    },
}

/// Takes one message apart. How its text arrives in pieces changes nothing.
pub struct MessageParser {
    reasoning: Option<ReasoningSplitter>,
    tools: Option<ToolParser>,
    format: Option<ToolFormat>,
    only_calls: bool,
    has_calls: bool,
}

impl MessageParser {
    /// A parser of one message.
    pub fn new(format: &MessageFormat) -> Self {
        let reasoning = format.reasoning;
        let tools = format.tools.as_ref();
        Self {
            reasoning: reasoning.map(|(format, inside)| ReasoningSplitter::new(format, inside)),
            tools: tools.map(|(format, tools)| ToolParser::new(*format, tools)),
            format: tools.map(|(format, _)| *format),
            only_calls: format.only_calls,
            has_calls: false,
        }
    }

    /// Whether a call has begun.
    pub fn has_calls(&self) -> bool {
        self.has_calls
    }

    /// Takes the next piece of text and returns what it settles.
    pub fn push(&mut self, text: &str) -> Vec<MessagePart> {
        let Some(splitter) = &mut self.reasoning else {
            return self.content(text);
        };
        let events = splitter.push(text);
        self.reasoned(events)
    }

    /// Returns what was held back at the end of the message.
    pub fn finish(&mut self) -> Vec<MessagePart> {
        let mut parts = Vec::new();
        if let Some(splitter) = &mut self.reasoning {
            let events = splitter.finish();
            parts = self.reasoned(events);
        }
        if let Some(parser) = &mut self.tools {
            let events = parser.finish();
            parts.extend(self.parts(events));
        }
        parts
    }

    fn reasoned(&mut self, events: Vec<ReasoningEvent>) -> Vec<MessagePart> {
        let mut parts = Vec::new();
        for event in events {
            match event {
                ReasoningEvent::Reasoning(text) => parts.push(MessagePart::Reasoning(text)),
                ReasoningEvent::Content(text) => parts.extend(self.content(&text)),
            }
        }
        parts
    }

    fn content(&mut self, text: &str) -> Vec<MessagePart> {
        match &mut self.tools {
            Some(parser) => {
                let events = parser.push(text);
                self.parts(events)
            }
            None if text.is_empty() => Vec::new(),
            None => vec![MessagePart::Text(text.to_owned())],
        }
    }

    fn parts(&mut self, events: Vec<ToolEvent>) -> Vec<MessagePart> {
        let part = |event| match event {
            ToolEvent::Text(_) if self.only_calls => None,
            ToolEvent::Text(text) => Some(MessagePart::Text(text)),
            ToolEvent::CallStart { index, id, name } => {
                self.has_calls = true;
                let id = id.unwrap_or_else(|| call_id(self.format));
                Some(MessagePart::CallStart { index, id, name })
            }
            ToolEvent::ArgumentsDelta { index, fragment } => {
                Some(MessagePart::Arguments { index, fragment })
            }
            ToolEvent::CallEnd { .. } => None,
        };
        events.into_iter().filter_map(part).collect()
    }
}

/// A new name for a call. Mistral's templates insist on nine letters and digits.
fn call_id(format: Option<ToolFormat>) -> String {
    let random = Uuid::new_v4().simple().to_string();
    match format {
        Some(ToolFormat::Mistral | ToolFormat::MistralArgs) => random[..9].to_owned(),
        _ => format!("call_{}", &random[..24]),
    }
}
