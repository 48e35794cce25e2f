//! What shapes of messages a template handles, found by trying.

use serde_json::{Value, json};

use super::parts::text_part;

/// The shapes a template handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shapes {
    /// `content` as a string.
    pub(super) content_as_string: bool,
    /// `content` as a list of typed parts.
    pub(super) content_as_parts: bool,
    /// A tool call's `arguments` have to be JSON text, not an object.
    pub(super) arguments_as_text: bool,
}

impl Default for Shapes {
    /// What nearly every template handles, for those that cannot be tried.
    fn default() -> Self {
        Self {
            content_as_string: true,
            content_as_parts: false,
            arguments_as_text: false,
        }
    }
}

impl Shapes {
    /// Renders small conversations with `render` and looks for their words in the outcome.
    pub(super) fn probe(render: impl Fn(&[Value]) -> Option<String>) -> Self {
        let content = |content: Value| render(&[json!({"role": "user", "content": content})]);
        let string = content(json!("needle"));
        let parts = content(json!([text_part("needle")]));
        let content_as_parts = parts.as_ref().is_some_and(|prompt| {
            // A template that prints the list itself also prints its keys.
            prompt.contains("needle") && !prompt.contains("text\"") && !prompt.contains("text'")
        });
        let content_as_string = string.is_some_and(|prompt| prompt.contains("needle"));

        let call = |arguments: Value| {
            let function = json!({"name": "look", "arguments": arguments});
            // Templates of Mistral's want ids of nine characters.
            let call = json!({"id": "call00000", "type": "function", "function": function});
            let user = json!({"role": "user", "content": "needle"});
            let prompt = render(&[
                user,
                json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            ]);
            prompt.is_some_and(|prompt| prompt.contains("straw"))
        };
        Self {
            content_as_string: content_as_string || !content_as_parts,
            content_as_parts,
            arguments_as_text: !call(json!({"straw": 1})) && call(json!("{\"straw\": 1}")),
        }
    }
}
