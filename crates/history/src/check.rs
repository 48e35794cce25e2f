//! Whether a value may be kept.

use serde_json::Value;

use crate::bounds::{
    CONTENT_BYTES, DRAFT_BYTES, FOLDER_CHARS, JSON_DEPTH, SETTINGS_BYTES, TITLE_CHARS,
};
use crate::error::HistoryError;

type Checked<T> = Result<T, HistoryError>;

/// A title of not too many characters.
pub(crate) fn title(title: &str) -> Checked<&str> {
    within(
        "the title",
        title.chars().count(),
        TITLE_CHARS,
        "characters",
    )?;
    Ok(title)
}

/// A folder's name; an empty one is none.
pub(crate) fn folder(folder: Option<&str>) -> Checked<Option<&str>> {
    let folder = folder.map(str::trim).filter(|folder| !folder.is_empty());
    let chars = folder.map_or(0, |folder| folder.chars().count());
    within("the folder", chars, FOLDER_CHARS, "characters")?;
    Ok(folder)
}

/// A draft of not too many bytes.
pub(crate) fn draft(draft: &str) -> Checked<&str> {
    within("the draft", draft.len(), DRAFT_BYTES, "bytes")?;
    Ok(draft)
}

/// Settings as JSON: an object.
pub(crate) fn settings(settings: Option<&Value>) -> Checked<String> {
    let Some(settings) = settings else {
        return Ok("{}".to_owned());
    };
    if !settings.is_object() {
        return Err(HistoryError::invalid("settings", "must be an object"));
    }
    json("the settings", "settings", settings, SETTINGS_BYTES)
}

/// A message's content as JSON: a text, or an array of objects.
pub(crate) fn content(content: &Value) -> Checked<String> {
    let is_content = match content {
        Value::Null => return Ok("\"\"".to_owned()),
        Value::String(_) => true,
        Value::Array(parts) => parts.iter().all(Value::is_object),
        _ => false,
    };
    if !is_content {
        let message = "must be a string or an array of parts";
        return Err(HistoryError::invalid("content", message));
    }
    json("the content", "content", content, CONTENT_BYTES)
}

/// A message's other texts.
pub(crate) fn text<'a>(what: &'static str, text: Option<&'a str>) -> Checked<Option<&'a str>> {
    within(what, text.map_or(0, str::len), CONTENT_BYTES, "bytes")?;
    Ok(text)
}

/// Tool calls as JSON.
pub(crate) fn tool_calls(calls: Option<&Vec<Value>>) -> Checked<Option<String>> {
    let Some(calls) = calls else { return Ok(None) };
    if !calls.iter().all(Value::is_object) {
        let message = "must be an array of objects";
        return Err(HistoryError::invalid("tool_calls", message));
    }
    for call in calls {
        depth("tool_calls", call)?;
    }
    let text = serde_json::to_string(calls)
        .map_err(|error| HistoryError::invalid("tool_calls", error.to_string()))?;
    within("the tool calls", text.len(), CONTENT_BYTES, "bytes")?;
    Ok(Some(text))
}

/// A value as JSON of not too many bytes, none for null.
pub(crate) fn value(
    what: &'static str,
    field: &'static str,
    value: Option<&Value>,
    limit: usize,
) -> Checked<Option<String>> {
    value
        .filter(|value| !value.is_null())
        .map(|value| json(what, field, value, limit))
        .transpose()
}

fn json(what: &'static str, field: &'static str, value: &Value, limit: usize) -> Checked<String> {
    depth(field, value)?;
    let text = serde_json::to_string(value)
        .map_err(|error| HistoryError::invalid(field, error.to_string()))?;
    within(what, text.len(), limit, "bytes")?;
    Ok(text)
}

fn within(what: &'static str, size: usize, limit: usize, unit: &'static str) -> Checked<()> {
    if size > limit {
        return Err(HistoryError::too_long(what, limit, unit));
    }
    Ok(())
}

fn depth(field: &'static str, value: &Value) -> Checked<()> {
    if is_deeper(value, JSON_DEPTH) {
        let message = format!("is nested more than {JSON_DEPTH} levels deep");
        return Err(HistoryError::invalid(field, message));
    }
    Ok(())
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return value.is_array() || value.is_object();
    };
    match value {
        Value::Array(values) => values.iter().any(|value| is_deeper(value, below)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, below)),
        _ => false,
    }
}
