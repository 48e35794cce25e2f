//! Messages as JSON: what they say, and more said in them.

use serde_json::{Value, json};

/// Who says a message. Empty where nobody does.
pub(crate) fn role(message: &Value) -> &str {
    message
        .get("role")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether it is a system's message, by either of its names.
pub(crate) fn is_system(message: &Value) -> bool {
    matches!(role(message), "system" | "developer")
}

/// The text of a message: of its parts, those that are text, a line each.
pub(crate) fn text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// A message of ours.
pub(crate) fn says(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// Says more at the end of a message, after a blank line or as a further part.
pub(crate) fn append(message: &mut Value, more: &str) {
    let content = message.get_mut("content").map(Value::take);
    message["content"] = match content {
        Some(Value::Array(mut parts)) => {
            parts.push(json!({"type": "text", "text": more}));
            parts.into()
        }
        Some(Value::String(text)) if !text.is_empty() => format!("{text}\n\n{more}").into(),
        _ => more.into(),
    };
}
