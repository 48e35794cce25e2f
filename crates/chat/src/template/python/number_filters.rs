//! Jinja2's filters over numbers.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::arguments::Arguments;
use super::filter::{Filter, filter};
use super::values::{to_float, to_int, type_error, type_name, undefined};

pub(super) const FILTERS: &[Filter] = &[
    filter("int", &["default", "base"], 0, int),
    filter("float", &["default"], 0, |value, arguments| {
        if value.is_undefined() {
            return Err(undefined());
        }
        let default = arguments.get(0).cloned().unwrap_or(Value::from(0.0));
        Ok(float_of(value).map_or(default, Value::from))
    }),
    filter("abs", &[], 0, |value, _| {
        if let Some(int) = to_int(value) {
            return Ok(whole(int.saturating_abs()));
        }
        let float = to_float(value).ok_or_else(|| {
            let found = type_name(value);
            type_error(format!("bad operand type for abs(): '{found}'"))
        })?;
        Ok(Value::from(float.abs()))
    }),
    filter("round", &["precision", "method"], 0, round),
];

/// An integer as a value.
pub(super) fn whole(int: i128) -> Value {
    i64::try_from(int).map_or_else(|_| Value::from(int), Value::from)
}

/// `float(value)`: of a number, or a text that spells one.
fn float_of(value: &Value) -> Option<f64> {
    let Some(text) = value.as_str() else {
        return to_float(value);
    };
    // Underscores between digits are Python's as well.
    let text = text.trim();
    let is_misplaced = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    text.replace('_', "").parse().ok().filter(|_| !is_misplaced)
}

fn int(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(undefined());
    }
    let base = arguments.int(1)?.unwrap_or(10);
    let spelled = value.as_str().and_then(|text| int_of_text(text, base));
    // "42.23" is 42.
    let cut = || {
        let float = float_of(value).filter(|float| float.is_finite())?;
        // Integers are exact up to here; what is larger saturates.
        Some(float.trunc() as i128)
    };
    let int = spelled.or_else(|| to_int(value)).or_else(cut);
    let default = arguments.get(0).cloned().unwrap_or(Value::from(0));
    Ok(int.map_or(default, whole))
}

/// `int(text, base)`.
fn int_of_text(text: &str, base: i64) -> Option<i128> {
    let text = text.trim();
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let lower = digits.to_ascii_lowercase();
    let prefix = prefixes
        .into_iter()
        .find(|(prefix, _)| lower.starts_with(prefix));
    let (digits, base) = match prefix {
        Some((prefix, own)) if base == own || base == 0 => (&lower[prefix.len()..], own),
        _ => (lower.as_str(), if base == 0 { 10 } else { base }),
    };
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base))?;
    let begins = digits.starts_with(|c: char| c.is_digit(base));
    if !begins || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let int = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    Some(if is_negative { -int } else { int })
}

fn round(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let precision = arguments.int(0)?.unwrap_or(0).clamp(-400, 400);
    let method = arguments.string(1)?.unwrap_or("common");
    if !matches!(value.kind(), ValueKind::Number | ValueKind::Bool) {
        let found = type_name(value);
        return Err(type_error(format!(
            "type {found} doesn't define __round__ method"
        )));
    }
    match method {
        "common" => {
            let number = to_int(value).map_or_else(|| value.clone(), whole);
            let precision = i32::try_from(precision).unwrap_or(0);
            let no_names = std::iter::empty::<(&str, Value)>().collect();
            minijinja::filters::round(number, Some(precision), None, no_names)
        }
        "ceil" | "floor" => {
            let scale = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
            let scaled = to_float(value).unwrap_or(f64::NAN) * scale;
            let rounded = if method == "ceil" {
                scaled.ceil()
            } else {
                scaled.floor()
            };
            Ok(Value::from(rounded / scale))
        }
        _ => Err(type_error("method must be common, ceil or floor")),
    }
}
