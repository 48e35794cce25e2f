//! Tool calls in the notations that models were trained on.
//!
//! ```text
//! text, as it is generated ──▶ ToolParser::push ──▶ Text · CallStart · ArgumentsDelta · CallEnd
//! tools, policy ──▶ ToolFormat::grammar ──▶ CallGrammar (Lark + schemas), to constrain generation
//! ```
//!
//! The parser works character by character, so that how the text arrives in pieces changes nothing.
//! Arguments leave as they come in; together the fragments of a call are JSON. What looks like a
//! call and turns out not to be one comes back as text, every character of it.

mod call_body;
mod call_sink;
mod format;
mod grammar;
mod json;
mod json_calls;
mod named_call;
mod parser;
mod pythonic;

pub use format::ToolFormat;
pub use grammar::{CallGrammar, CallPolicy};
pub use parser::ToolParser;

use serde_json::Value;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// The name that the model writes.
    pub name: String,
    /// JSON schema of the arguments: an object.
    pub parameters: Value,
}

/// What a piece of generated text turned out to be. Calls are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolEvent {
    /// Text for the reader.
    Text(String),
    /// A call begins.
    CallStart {
        /// Which call.
        index: usize,
        /// The id that the model gave it; most notations have none.
        id: Option<String>,
        /// The function's name.
        name: String,
    },
    /// More of the arguments. All fragments of a call make one JSON object, unless the model broke
    /// off inside of it: then they are not closed, so that nobody runs half a call.
    ArgumentsDelta {
        /// Which call.
        index: usize,
        /// A piece of JSON text.
        fragment: String,
    },
    /// The call is complete, or was broken off.
    CallEnd {
        /// Which call.
        index: usize,
    },
}

#[cfg(test)]
mod tests;
