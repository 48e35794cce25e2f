//! Items to the messages that chat templates read.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::dialects::responses::wire::{InputItem, InputPart, OutputItem};
use crate::dialects::shared::fields::{missing, required};
use crate::dialects::shared::union::TextOr;
use crate::error::ApiError;

/// The messages that the input is. What the assistant thought, said and called in a row is one
/// message.
pub(super) fn messages(input: Option<TextOr<InputItem>>) -> Result<Vec<Value>, ApiError> {
    let items = match input {
        None => return Err(missing("input")),
        Some(TextOr::Text(text)) => return Ok(vec![json!({"role": "user", "content": text})]),
        Some(TextOr::List(items)) => items,
    };
    if items.is_empty() {
        return Err(ApiError::invalid(
            "input",
            "`input` must have at least one item.",
        ));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let param = format!("input[{i}]");
        match item.kind.as_deref().unwrap_or("message") {
            "message" => message(&param, item, &mut messages)?,
            "function_call" => {
                let id = required(item.call_id, &param, "call_id")?;
                let name = required(item.name, &param, "name")?;
                let arguments = required(item.arguments, &param, "arguments")?;
                add_call(&mut messages, &id, &name, &arguments);
            }
            "function_call_output" => {
                let id = required(item.call_id, &param, "call_id")?;
                let Some(output) = item.output else {
                    return Err(missing(&format!("{param}.output")));
                };
                let output = text(&format!("{param}.output"), output)?;
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": output}));
            }
            "reasoning" => {
                let thought = match (item.content, item.encrypted_content) {
                    (Some(content), _) => text(&format!("{param}.content"), content)?,
                    (None, Some(sealed)) => unseal(&param, &sealed)?,
                    (None, None) => String::new(),
                };
                if !thought.is_empty() {
                    messages.push(json!({
                        "role": "assistant", "content": null, "reasoning_content": thought,
                    }));
                }
            }
            other => {
                let message =
                    format!("`{param}` is of type \"{other}\", which cannot be read here.");
                return Err(ApiError::unsupported(format!("{param}.type"), message));
            }
        }
    }
    Ok(messages)
}

fn message(param: &str, item: InputItem, messages: &mut Vec<Value>) -> Result<(), ApiError> {
    let Some(content) = item.content else {
        return Err(missing(&format!("{param}.content")));
    };
    let content = text(&format!("{param}.content"), content)?;
    let role = match item.role.as_deref() {
        Some("developer" | "system") => "system",
        Some("user") => "user",
        Some("assistant") => {
            match open_assistant(messages) {
                // Something was thought before it was said.
                Some(open) if open["content"].is_null() => open["content"] = content.into(),
                _ => messages.push(json!({"role": "assistant", "content": content})),
            }
            return Ok(());
        }
        other => {
            let param = format!("{param}.role");
            let message = format!(
                "`{param}` must be system, developer, user or assistant, got \"{}\".",
                other.unwrap_or_default()
            );
            return Err(ApiError::invalid(param, message));
        }
    };
    messages.push(json!({"role": role, "content": content}));
    Ok(())
}

/// The assistant's message that the conversation ends in.
fn open_assistant(messages: &mut [Value]) -> Option<&mut Value> {
    messages
        .last_mut()
        .filter(|last| last["role"] == "assistant")
}

fn add_call(messages: &mut Vec<Value>, id: &str, name: &str, arguments: &str) {
    let function = json!({"name": name, "arguments": arguments});
    let call = json!({"id": id, "type": "function", "function": function});
    match open_assistant(messages) {
        Some(open) => match open["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(call),
            None => open["tool_calls"] = json!([call]),
        },
        None => messages.push(json!({
            "role": "assistant", "content": null, "tool_calls": [call],
        })),
    }
}

/// The message that an answer is to whoever follows it.
pub(in super::super) fn answer_message(output: &[OutputItem]) -> Value {
    let mut messages = vec![json!({"role": "assistant", "content": null})];
    for item in output {
        match item {
            OutputItem::Reasoning { content, .. } => {
                let text: String = content.iter().map(|part| part.text.as_str()).collect();
                messages[0]["reasoning_content"] = text.into();
            }
            OutputItem::Message { content, .. } => {
                let text: String = content.iter().map(|part| part.text.as_str()).collect();
                let before = messages[0]["content"].as_str().unwrap_or_default();
                messages[0]["content"] = format!("{before}{text}").into();
            }
            OutputItem::FunctionCall {
                call_id,
                name,
                arguments,
                ..
            } => add_call(&mut messages, call_id, name, arguments),
        }
    }
    let mut message = messages.swap_remove(0);
    if message["content"].is_null() && message.get("tool_calls").is_none() {
        message["content"] = "".into();
    }
    message
}

fn text(param: &str, content: TextOr<InputPart>) -> Result<String, ApiError> {
    let parts = match content {
        TextOr::Text(text) => return Ok(text),
        TextOr::List(parts) => parts,
    };
    let part = |(i, part): (usize, InputPart)| {
        let param = format!("{param}[{i}]");
        match part.kind.as_str() {
            "input_text" | "output_text" | "reasoning_text" | "text" => {
                required(part.text, &param, "text")
            }
            "refusal" => required(part.refusal, &param, "refusal"),
            other => {
                let message = format!(
                    "`{param}` is of type \"{other}\", which this model cannot read: it takes text."
                );
                Err(ApiError::unsupported(format!("{param}.type"), message))
            }
        }
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// What was thought, from where an earlier response has sealed it.
fn unseal(param: &str, sealed: &str) -> Result<String, ApiError> {
    let bytes = BASE64_STANDARD.decode(sealed).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            let param = format!("{param}.encrypted_content");
            let message = format!("`{param}` was not made by this server.");
            ApiError::invalid(param, message)
        })
}
