//! Turns of blocks to the messages that chat templates read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::documents;
use super::text::{text, texts, unreadable};
use crate::dialects::anthropic::wire::{Block, Message};
use crate::dialects::shared::convert::MAX_MESSAGES;
use crate::dialects::shared::fields::{missing, no_more_than, required};
use crate::dialects::shared::union::TextOr;
use crate::error::ApiError;

/// All messages, the system's first. Turns of the same role are one turn, as at Anthropic: many
/// templates insist on turns that alternate.
pub(super) fn messages(
    system: Option<TextOr<Block>>,
    messages: Option<Vec<Message>>,
) -> Result<Vec<Value>, ApiError> {
    let messages = messages.unwrap_or_default();
    if messages.is_empty() {
        let message = "`messages` must have at least one message.";
        return Err(ApiError::invalid("messages", message));
    }
    no_more_than("messages", &messages, MAX_MESSAGES)?;
    let mut converted = Vec::with_capacity(messages.len() + 1);
    if let Some(system) = system {
        let texts = texts("system", blocks(system))?;
        if !texts.is_empty() {
            converted.push(json!({"role": "system", "content": texts.join("\n\n")}));
        }
    }
    let mut turns: Vec<(Role, Vec<(String, Block)>)> = Vec::new();
    for (i, message) in messages.into_iter().enumerate() {
        let role = match message.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            other => {
                let param = format!("messages[{i}].role");
                let role = other.unwrap_or_default();
                let message =
                    format!("`{param}` must be user, assistant or system, got \"{role}\".");
                return Err(ApiError::invalid(param, message));
            }
        };
        let Some(content) = message.content else {
            return Err(missing(&format!("messages[{i}].content")));
        };
        let blocks = blocks(content).into_iter().enumerate();
        let placed = blocks.map(|(j, block)| (format!("messages[{i}].content[{j}]"), block));
        match turns.last_mut() {
            Some((of, blocks)) if *of == role => blocks.extend(placed),
            _ => turns.push((role, placed.collect())),
        }
    }
    for (role, blocks) in turns {
        match role {
            Role::Assistant => converted.push(assistant(blocks)?),
            Role::User => user(blocks, &mut converted)?,
            Role::System => {
                let texts = blocks.into_iter().map(|(param, block)| text(&param, block));
                let texts = texts.collect::<Result<Vec<_>, _>>()?;
                tell(&mut converted, &texts.join("\n\n"));
            }
        }
    }
    Ok(converted)
}

/// Adds what the system says on the way to what it said first: in its place, between the turns, it makes
/// small models forget how to call tools. Behind an answer it is what is to be answered next, as the
/// user's words are.
fn tell(messages: &mut Vec<Value>, text: &str) {
    if messages
        .last()
        .is_some_and(|last| last["role"] == "assistant")
    {
        messages.push(json!({"role": "user", "content": text}));
        return;
    }
    match messages.first_mut() {
        Some(first) if first["role"] == "system" => {
            let before = first["content"].as_str().unwrap_or_default();
            first["content"] = format!("{before}\n\n{text}").into();
        }
        _ => messages.insert(0, json!({"role": "system", "content": text})),
    }
}

/// The tools that results of calls refer to: they can be called from then on.
pub(super) fn referenced_tools(messages: &[Message]) -> BTreeSet<String> {
    fn list(content: &Option<TextOr<Block>>) -> &[Block] {
        match content {
            Some(TextOr::List(blocks)) => blocks,
            _ => &[],
        }
    }
    let blocks = messages.iter().flat_map(|message| list(&message.content));
    let results = blocks.flat_map(|block| list(&block.content));
    results
        .filter(|block| block.kind == "tool_reference")
        .filter_map(|block| block.tool_name.clone())
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
    /// What the assistant is told as the conversation goes on.
    System,
}

/// Results of tools are messages of their own; text after them is what the user says.
fn user(blocks: Vec<(String, Block)>, messages: &mut Vec<Value>) -> Result<(), ApiError> {
    let mut texts: Vec<String> = Vec::new();
    for (param, block) in blocks {
        match block.kind.as_str() {
            "tool_result" => messages.push(tool_result(&param, block)?),
            "document" => texts.push(documents::document(&param, block)?),
            "search_result" => texts.push(documents::search_result(&param, block)?),
            _ => texts.push(text(&param, block)?),
        }
    }
    let has_results = messages.last().is_some_and(|last| last["role"] == "tool");
    if !texts.is_empty() || !has_results {
        messages.push(json!({"role": "user", "content": texts.join("\n\n")}));
    }
    Ok(())
}

fn tool_result(param: &str, block: Block) -> Result<Value, ApiError> {
    let id = required(block.tool_use_id, param, "tool_use_id")?;
    let mut texts = match block.content {
        None => Vec::new(),
        Some(TextOr::Text(text)) => vec![text],
        Some(TextOr::List(blocks)) => {
            let text = |(i, block): (usize, Block)| {
                let param = format!("{param}.content[{i}]");
                match block.kind.as_str() {
                    "document" => documents::document(&param, block),
                    "search_result" => documents::search_result(&param, block),
                    // The tool itself is among the request's.
                    "tool_reference" => required(block.tool_name, &param, "tool_name"),
                    _ => text(&param, block),
                }
            };
            let texts: Result<Vec<String>, ApiError> =
                blocks.into_iter().enumerate().map(text).collect();
            texts?
        }
    };
    // Templates have no place for this.
    if block.is_error == Some(true) {
        texts.insert(0, "Error:".to_owned());
    }
    Ok(json!({"role": "tool", "tool_call_id": id, "content": texts.join("\n")}))
}

fn assistant(blocks: Vec<(String, Block)>) -> Result<Value, ApiError> {
    let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (param, block) in blocks {
        match block.kind.as_str() {
            "text" => texts.push(required(block.text, &param, "text")?),
            "thinking" => thoughts.push(required(block.thinking, &param, "thinking")?),
            // Sealed by Anthropic's models: there is nothing in it that another could read.
            "redacted_thinking" => {}
            "tool_use" => {
                let id = required(block.id, &param, "id")?;
                let name = required(block.name, &param, "name")?;
                let input = Value::Object(block.input.unwrap_or_default());
                let function = json!({"name": name, "arguments": input.to_string()});
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            other => return Err(unreadable(&param, other)),
        }
    }
    let content = match texts.is_empty() && !calls.is_empty() {
        true => Value::Null,
        false => texts.concat().into(),
    };
    let mut message = json!({"role": "assistant", "content": content});
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.concat().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

fn blocks(content: TextOr<Block>) -> Vec<Block> {
    match content {
        TextOr::List(blocks) => blocks,
        TextOr::Text(text) => vec![Block {
            kind: "text".to_owned(),
            text: Some(text),
            ..Block::default()
        }],
    }
}
