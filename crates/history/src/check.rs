//! Whether a value may be kept.

use serde_json::Value;

use crate::bounds::{
    CONTENT_BYTES, DETAIL_BYTES, DETAIL_VALUES, DRAFT_BYTES, FOLDER_CHARS, JSON_DEPTH, JSON_VALUES,
    SETTINGS_BYTES, TITLE_CHARS,
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
    let limits = (SETTINGS_BYTES, JSON_VALUES);
    json("the settings", "settings", settings, limits)
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
    let limits = (CONTENT_BYTES, JSON_VALUES);
    json("the content", "content", content, limits)
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
    let what = "the tool calls";
    // The array is one, too.
    let mut left = JSON_VALUES - 1;
    for call in calls {
        count(call, JSON_DEPTH, &mut left)
            .map_err(|excess| excess.error(what, "tool_calls", JSON_VALUES))?;
    }
    let text = serde_json::to_string(calls)
        .map_err(|error| HistoryError::invalid("tool_calls", error.to_string()))?;
    within(what, text.len(), CONTENT_BYTES, "bytes")?;
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
        .map(|value| json(what, field, value, (limit, JSON_VALUES)))
        .transpose()
}

/// What the server has of an answer as JSON, none for null: it may be larger than what clients send.
pub(crate) fn detail(
    what: &'static str,
    field: &'static str,
    value: Option<&Value>,
) -> Checked<Option<String>> {
    value
        .filter(|value| !value.is_null())
        .map(|value| json(what, field, value, (DETAIL_BYTES, DETAIL_VALUES)))
        .transpose()
}

/// A value as JSON of not too many bytes, with not too many values in it.
fn json(
    what: &'static str,
    field: &'static str,
    value: &Value,
    (bytes, values): (usize, usize),
) -> Checked<String> {
    let mut left = values;
    count(value, JSON_DEPTH, &mut left).map_err(|excess| excess.error(what, field, values))?;
    let text = serde_json::to_string(value)
        .map_err(|error| HistoryError::invalid(field, error.to_string()))?;
    within(what, text.len(), bytes, "bytes")?;
    Ok(text)
}

fn within(what: &'static str, size: usize, limit: usize, unit: &'static str) -> Checked<()> {
    if size > limit {
        return Err(HistoryError::too_long(what, limit, unit));
    }
    Ok(())
}

/// What is wrong with a value's shape.
enum Excess {
    Depth,
    Values,
}

impl Excess {
    fn error(self, what: &'static str, field: &'static str, values: usize) -> HistoryError {
        match self {
            Self::Values => HistoryError::too_long(what, values, "JSON values"),
            Self::Depth => {
                let message = format!("is nested more than {JSON_DEPTH} levels deep");
                HistoryError::invalid(field, message)
            }
        }
    }
}

/// Takes all values of a value, itself and those in it, off what is `left`.
fn count(value: &Value, levels: usize, left: &mut usize) -> Result<(), Excess> {
    *left = left.checked_sub(1).ok_or(Excess::Values)?;
    let below = || levels.checked_sub(1).ok_or(Excess::Depth);
    match value {
        Value::Array(values) => {
            let below = below()?;
            values.iter().try_for_each(|it| count(it, below, left))
        }
        Value::Object(fields) => {
            let below = below()?;
            fields.values().try_for_each(|it| count(it, below, left))
        }
        _ => Ok(()),
    }
}
