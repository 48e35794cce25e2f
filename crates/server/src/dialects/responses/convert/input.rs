//! Items to the messages that chat templates read.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::calls::{self, TemplateCall};
use super::tools::offered_name;
use crate::dialects::responses::wire::{InputItem, InputPart, OutputItem, Tool};
use crate::dialects::shared::convert::MAX_MESSAGES;
use crate::dialects::shared::fields::{missing, no_more_than, required};
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
    no_more_than("input", &items, MAX_MESSAGES)?;
    let mut messages = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let param = format!("input[{i}]");
        if let Some(call) = calls::of_input(&param, &item)? {
            add_call(&mut messages, &call);
            continue;
        }
        match item.kind.as_deref().unwrap_or("message") {
            "message" => message(&param, item, &mut messages)?,
            "function_call_output"
            | "custom_tool_call_output"
            | "local_shell_call_output"
            | "shell_call_output"
            | "apply_patch_call_output" => messages.push(call_output(&param, item)?),
            "tool_search_output" => messages.push(found_tools(&param, item)?),
            // What it brings is among the tools.
            "additional_tools" => {}
            "reasoning" => {
                let mut thought = match item.content {
                    Some(content) => text(&format!("{param}.content"), content)?,
                    None => String::new(),
                };
                if thought.is_empty() {
                    let sealed = item.encrypted_content.as_deref();
                    thought = sealed.and_then(unseal).unwrap_or_default();
                }
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

/// What a call gave.
fn call_output(param: &str, item: InputItem) -> Result<Value, ApiError> {
    let id = required(item.call_id.or(item.id), param, "call_id")?;
    let output = match (item.output, item.status) {
        (Some(output), _) => text(&format!("{param}.output"), output)?,
        // A patch may give nothing but whether it could be applied.
        (None, Some(status)) if item.kind.as_deref() == Some("apply_patch_call_output") => status,
        (None, _) => return Err(missing(&format!("{param}.output"))),
    };
    Ok(json!({"role": "tool", "tool_call_id": id, "content": output}))
}

/// What a search for tools has found: their names. How they are called stands among the tools.
fn found_tools(param: &str, item: InputItem) -> Result<Value, ApiError> {
    fn names(tools: &[Tool], namespace: Option<&str>, found: &mut Vec<String>) {
        for tool in tools {
            let name = tool.name.as_deref();
            match &tool.tools {
                Some(tools) => names(tools, name, found),
                None => found.extend(name.map(|name| offered_name(namespace, name))),
            }
        }
    }
    let id = required(item.call_id, param, "call_id")?;
    let mut found = Vec::new();
    names(item.tools.as_deref().unwrap_or_default(), None, &mut found);
    let content = json!({"tools": found}).to_string();
    Ok(json!({"role": "tool", "tool_call_id": id, "content": content}))
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

fn add_call(messages: &mut Vec<Value>, call: &TemplateCall) {
    let function = json!({"name": call.name, "arguments": call.arguments});
    let call = json!({"id": call.id, "type": "function", "function": function});
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
            call => {
                if let Some(call) = calls::of_output(call) {
                    add_call(&mut messages, &call);
                }
            }
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
            // What a command of a shell printed has no type.
            "" if part.is_printed() => Ok(printed(&part)),
            "" => required(part.text, &param, "text"),
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

/// What a command printed, on both of its channels, and how it ended if it did not end well.
fn printed(part: &InputPart) -> String {
    let texts = [&part.stdout, &part.stderr].into_iter().flatten();
    let mut printed: String = texts.map(String::as_str).collect();
    if let Some(outcome) = &part.outcome
        && outcome["exit_code"] != 0
    {
        printed.push_str(&format!("\n{outcome}"));
    }
    printed
}

/// What was thought, from where an earlier response has sealed it. What another server has sealed
/// cannot be read by anybody else: there is nothing in it for this model.
fn unseal(sealed: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(sealed).ok()?;
    String::from_utf8(bytes).ok()
}
