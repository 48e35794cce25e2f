//! Content as typed parts, in the spellings of OpenAI's APIs.

use serde_json::{Value, json};

/// The text of a content part, in any of the spellings of OpenAI's APIs.
pub(super) fn part_text(part: &Value) -> Option<&str> {
    match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => part["text"].as_str(),
        Some("refusal") => part["refusal"].as_str(),
        _ => part.as_str(),
    }
}

/// A text as a part.
pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}
