//! Brings a request's messages into the shape that a template expects.

use serde_json::{Map, Value, json};

use super::error::TemplateError;
use super::parts::{part_text, text_part};
use super::shapes::Shapes;

/// A copy of `messages` with content and tool-call arguments as the template wants them.
pub(super) fn normalise(messages: &[Value], shapes: Shapes) -> Result<Vec<Value>, TemplateError> {
    let normalised = messages.iter().enumerate().map(|(index, message)| {
        let mut message = message.clone();
        let Some(fields) = message.as_object_mut() else {
            return Err(request_error(
                format!("messages[{index}]"),
                "a message is an object",
            ));
        };
        let is_user = fields.get("role").is_some_and(|role| role == "user");
        if let Some(content) = fields.get_mut("content") {
            normalise_content(content, index, is_user, shapes)?;
        }
        if let Some(Value::Array(calls)) = fields.get_mut("tool_calls") {
            for call in calls {
                if let Some(Value::Object(function)) = call.get_mut("function") {
                    let arguments = function.entry("arguments").or_insert(Value::Null);
                    normalise_arguments(arguments, shapes);
                }
            }
        }
        Ok(message)
    });
    normalised.collect()
}

/// Parts become a string, and a string becomes a part, where the template handles only the other.
/// Several parts of a user's message stay parts if the template has its own way to join them.
fn normalise_content(
    content: &mut Value,
    message: usize,
    is_user: bool,
    shapes: Shapes,
) -> Result<(), TemplateError> {
    if let Value::Array(parts) = content {
        let texts = parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                part_text(part).ok_or_else(|| {
                    let kind = part["type"].as_str().unwrap_or("unknown");
                    request_error(
                        format!("messages[{message}].content[{index}]"),
                        format!(
                            "content of type \"{kind}\" is not supported: this model reads text"
                        ),
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        *content = if is_user && texts.len() > 1 && shapes.content_as_parts {
            texts.iter().map(|text| text_part(text)).collect()
        } else {
            texts.join("\n").into()
        };
    }
    if let (Value::String(text), false) = (&content, shapes.content_as_string) {
        *content = json!([text_part(text)]);
    }
    Ok(())
}

/// OpenAI sends arguments as JSON text; most templates want the object. None at all are `{}`.
fn normalise_arguments(arguments: &mut Value, shapes: Shapes) {
    let is_blank = arguments
        .as_str()
        .is_some_and(|text| text.trim().is_empty());
    if arguments.is_null() || is_blank {
        *arguments = json!({});
    }
    match arguments {
        Value::String(text) if !shapes.arguments_as_text => {
            if let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) {
                *arguments = Value::Object(object);
            }
        }
        Value::Object(_) if shapes.arguments_as_text => {
            *arguments = arguments.to_string().into();
        }
        _ => {}
    }
}

/// Puts `end` after the content of the last message, to be found again in the rendered prompt.
/// The space behind it shows whether the template trims what it prints.
pub(super) fn mark_end(
    messages: &mut [Value],
    end: char,
    add_generation_prompt: bool,
) -> Result<(), TemplateError> {
    if add_generation_prompt {
        return Err(request_error(
            "continue_final_message",
            "continue_final_message and add_generation_prompt exclude each other",
        ));
    }
    let index = messages.len().saturating_sub(1);
    let content = messages
        .last_mut()
        .and_then(|message| message.get_mut("content"));
    let content = content.and_then(|content| match content {
        Value::Array(parts) => parts.last_mut()?.get_mut("text"),
        content => Some(content),
    });
    match content {
        Some(Value::String(text)) => {
            text.push(end);
            text.push(' ');
            Ok(())
        }
        _ => Err(request_error(
            format!("messages[{index}].content"),
            "continue_final_message needs a last message with text to continue",
        )),
    }
}

/// Cuts a rendered prompt where the content of its last message ends.
pub(super) fn cut_at_end(prompt: &mut String, end: char) -> Result<(), TemplateError> {
    let Some(position) = prompt.rfind(end) else {
        return Err(request_error(
            "continue_final_message",
            "the chat template does not show the last message, so it cannot be continued",
        ));
    };
    let trims = !prompt[position + end.len_utf8()..].starts_with(' ');
    prompt.truncate(position);
    if trims {
        prompt.truncate(prompt.trim_end().len());
    }
    Ok(())
}

fn request_error(param: impl Into<String>, message: impl Into<String>) -> TemplateError {
    TemplateError::Request {
        message: message.into(),
        param: param.into(),
    }
}
