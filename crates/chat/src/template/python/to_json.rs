//! Values as JSON, as far as Python's `json.dumps` takes them.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use serde_json::{Map, Number, Value as Json};

use super::values::{to_float, to_int, to_text, type_error, type_name};

/// How deeply values may be nested.
const MAX_DEPTH: usize = 128;
/// How many values there may be in one.
const MAX_VALUES: usize = 1 << 21;
/// Bytes of a text that count as a value.
const TEXT_UNIT: usize = 32;

pub(in super::super) fn to_json(value: &Value) -> Result<Json, Error> {
    nested(value, 0, &mut 0)
}

fn nested(value: &Value, depth: usize, count: &mut usize) -> Result<Json, Error> {
    let wrong = || {
        let found = type_name(value);
        type_error(format!("Object of type {found} is not JSON serializable"))
    };
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_VALUES {
        return Err(type_error("the value is too large or nested too deeply"));
    }
    if let Some(text) = value.as_str() {
        // Long texts count for more.
        *count += text.len() / TEXT_UNIT;
        if *count > MAX_VALUES {
            return Err(type_error("the value is too large"));
        }
        return Ok(text.into());
    }
    match value.kind() {
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(value.is_true().into()),
        ValueKind::Number => {
            let number = match to_int(value) {
                Some(int) => Number::from_i128(int),
                None => to_float(value).and_then(Number::from_f64),
            };
            number.map(Json::Number).ok_or_else(wrong)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value
                .try_iter()?
                .map(|item| nested(&item, depth + 1, count));
            items.collect::<Result<Vec<_>, _>>().map(Json::Array)
        }
        ValueKind::Map => {
            let entries = value.try_iter()?.map(|key| {
                let entry = nested(&value.get_item(&key)?, depth + 1, count)?;
                Ok((key_text(&key)?, entry))
            });
            entries
                .collect::<Result<Map<_, _>, Error>>()
                .map(Json::Object)
        }
        _ => Err(wrong()),
    }
}

/// Keys are texts; numbers, booleans and none are written as values are.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(key.is_true().to_string()),
        ValueKind::Number | ValueKind::String => to_text(key),
        _ => Err(type_error(format!(
            "keys must be str, int, float, bool or None, not {}",
            type_name(key)
        ))),
    }
}
