//! A branch of a conversation as Markdown.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use crate::model::{Conversation, Message, Role};

/// The branch that ends at `leaf` (none: the conversation's own leaf) as Markdown: the title as a
/// heading, then each message under its speaker's name, thoughts as quotations, and tool calls as JSON.
/// It has no HTML of its own; contents stand as they are. An id that is not there gives the title alone.
pub fn markdown(conversation: &Conversation, messages: &[Message], leaf: Option<&str>) -> String {
    let mut text = String::new();
    let title = one_line(&conversation.title);
    let title = if title.is_empty() {
        "Conversation"
    } else {
        &title
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "# {title}");
    let leaf = leaf.or(conversation.leaf.as_deref());
    for message in branch(messages, leaf) {
        let _ = write!(text, "\n**{}**\n", speaker(message));
        if let Some(thoughts) = message.reasoning.as_deref().map(str::trim)
            && !thoughts.is_empty()
        {
            text.push_str("\n> **Thoughts**\n>\n");
            for line in thoughts.lines() {
                let _ = writeln!(text, "{}", format!("> {line}").trim_end());
            }
        }
        let content = content(&message.content);
        let content = content.trim_end();
        if !content.is_empty() {
            let _ = write!(text, "\n{content}\n");
        }
        if let Some(calls) = &message.tool_calls
            && !calls.is_empty()
        {
            fenced(&mut text, &Value::Array(calls.clone()));
        }
        if let Some(error) = &message.error {
            let _ = write!(text, "\n*Error: {}*\n", one_line(error));
        }
    }
    text
}

/// The messages from the beginning to `leaf`.
fn branch<'a>(messages: &'a [Message], leaf: Option<&'a str>) -> Vec<&'a Message> {
    let by_id: HashMap<&str, &Message> = messages
        .iter()
        .map(|message| (message.id.as_str(), message))
        .collect();
    let mut branch = Vec::new();
    let mut next = leaf;
    // A circle, which no history has, would be longer than all messages.
    while let Some(message) = next.and_then(|id| by_id.get(id))
        && branch.len() < messages.len()
    {
        branch.push(*message);
        next = message.parent.as_deref();
    }
    branch.reverse();
    branch
}

fn speaker(message: &Message) -> String {
    let name = match message.role {
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::System => "System",
        Role::Tool => "Tool",
    };
    match &message.model {
        Some(model) if message.role == Role::Assistant => format!("{name} ({})", one_line(model)),
        _ => name.to_owned(),
    }
}

/// Text parts as they are, and others by their kind: pictures are too large for a text.
fn content(content: &Value) -> String {
    let parts = match content {
        Value::String(text) => return text.clone(),
        Value::Array(parts) => parts,
        _ => return String::new(),
    };
    let parts = parts.iter().map(|part| {
        let text = part.get("text").and_then(Value::as_str);
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("part");
        text.map_or_else(|| format!("*[{}]*", one_line(kind)), str::to_owned)
    });
    parts.collect::<Vec<_>>().join("\n\n")
}

/// JSON in a fence that is longer than any in it.
fn fenced(text: &mut String, value: &Value) {
    let json = format!("{value:#}");
    let runs = json.split(|it| it != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or(0).max(2) + 1);
    let _ = write!(text, "\n{fence}json\n{json}\n{fence}\n");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
