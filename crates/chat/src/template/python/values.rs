//! Values as Python sees them: how they print, compare and are walked through.

use std::cmp::Ordering;
use std::fmt::Write as _;

use minijinja::value::{ValueIter, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How deeply values may be nested that are printed or compared.
const MAX_DEPTH: usize = 128;
/// Bytes a text may have that is made at once: as many as a template may write.
const MAX_TEXT: usize = 64 << 20;

/// Refuses to make texts of more than so many bytes.
pub(super) fn check_length(bytes: usize) -> Result<(), Error> {
    match bytes {
        0..=MAX_TEXT => Ok(()),
        _ => Err(type_error(format!(
            "a text would have more than {MAX_TEXT} bytes"
        ))),
    }
}

pub(super) fn type_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub(super) fn undefined() -> Error {
    Error::from(ErrorKind::UndefinedError)
}

/// What Python calls the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq => "list",
        ValueKind::Map => "dict",
        ValueKind::Iterable => "generator",
        _ => "object",
    }
}

/// `str(value)`.
pub(super) fn to_text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let mut output = String::new();
    if !value.is_undefined() {
        write_repr(&mut output, value, 0)?;
    }
    Ok(output)
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    let mut output = String::new();
    write_repr(&mut output, value, 0)?;
    Ok(output)
}

fn write_repr(output: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(type_error("the value is nested too deeply to be printed"));
    }
    check_length(output.len())?;
    if let Some(text) = value.as_str() {
        write_text_repr(output, text);
        return Ok(());
    }
    match value.kind() {
        ValueKind::Undefined => output.push_str("Undefined"),
        ValueKind::Number if !value.is_integer() => output.push_str(&float_text(value)?),
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() {
                ('(', ')')
            } else {
                ('[', ']')
            };
            output.push(open);
            let mut count = 0;
            for item in value.try_iter()? {
                if count > 0 {
                    output.push_str(", ");
                }
                write_repr(output, &item, depth + 1)?;
                count += 1;
            }
            if count == 1 && value.is_tuple() {
                output.push(',');
            }
            output.push(close);
        }
        ValueKind::Map => {
            output.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    output.push_str(", ");
                }
                write_repr(output, &key, depth + 1)?;
                output.push_str(": ");
                write_repr(output, &value.get_item(&key)?, depth + 1)?;
            }
            output.push('}');
        }
        _ => {
            let _ = write!(output, "{value}");
        }
    }
    Ok(())
}

fn write_text_repr(output: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    output.push(quote);
    for character in text.chars() {
        let code = u32::from(character);
        let _ = match character {
            '\\' => write!(output, "\\\\"),
            '\n' => write!(output, "\\n"),
            '\r' => write!(output, "\\r"),
            '\t' => write!(output, "\\t"),
            _ if character == quote => write!(output, "\\{quote}"),
            _ if is_printable(character) => write!(output, "{character}"),
            _ if code < 0x100 => write!(output, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(output, "\\u{code:04x}"),
            _ => write!(output, "\\U{code:08x}"),
        };
    }
    output.push(quote);
}

/// `str.isprintable` of a character. Noncharacters count as printable: they may be marks of ours,
/// which are taken out later.
pub(super) fn is_printable(character: char) -> bool {
    if character.is_ascii() || ('\u{fdd0}'..='\u{fdef}').contains(&character) {
        return !character.is_control();
    }
    // Behind another character, combining ones are left as they are, too.
    let text: String = ['a', character].iter().collect();
    text.escape_debug().count() == 2
}

/// A float as Python prints it.
fn float_text(value: &Value) -> Result<String, Error> {
    let float = to_float(value).unwrap_or(f64::NAN);
    if float.is_nan() {
        return Ok("nan".to_owned());
    }
    if float.is_infinite() {
        return Ok(if float > 0.0 { "inf" } else { "-inf" }.to_owned());
    }
    let number = serde_json::Number::from_f64(float).ok_or_else(|| type_error("not a number"))?;
    Ok(super::super::json::python_number(&number))
}

/// A number or a boolean as a float.
pub(super) fn to_float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => {
            i128::try_from(value.clone()).ok().map(|int| int as f64)
        }
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// A whole number or a boolean as an integer.
pub(super) fn to_int(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// `iter(value)`: what is undefined has no items, none and numbers cannot be walked through.
pub(super) fn items(value: &Value) -> Result<ValueIter, Error> {
    if value.is_none() {
        return Err(type_error("'NoneType' object is not iterable"));
    }
    value.try_iter()
}

/// The items of a list, of which a template has no business with more than so many.
pub(super) fn collect(value: &Value) -> Result<Vec<Value>, Error> {
    const MAX_ITEMS: usize = 1 << 20;
    let mut found = Vec::new();
    for item in items(value)?.checked() {
        if found.len() == MAX_ITEMS {
            return Err(type_error(format!(
                "a list has more than {MAX_ITEMS} items"
            )));
        }
        found.push(item?);
    }
    Ok(found)
}

/// The order of two values, where Python knows one.
pub(super) fn compare(left: &Value, right: &Value, operator: &str) -> Result<Ordering, Error> {
    compare_nested(left, right, operator, 0)
}

fn compare_nested(
    left: &Value,
    right: &Value,
    operator: &str,
    depth: usize,
) -> Result<Ordering, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(undefined());
    }
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(left.cmp(right));
    }
    if let (Some(left), Some(right)) = (to_int(left), to_int(right)) {
        return Ok(left.cmp(&right));
    }
    if let (Some(left), Some(right)) = (to_float(left), to_float(right)) {
        // Where one is no number, no comparison holds; that it is larger is near enough.
        return Ok(left.partial_cmp(&right).unwrap_or(Ordering::Greater));
    }
    let names = (type_name(left), type_name(right));
    if depth < MAX_DEPTH && matches!(names, ("list", "list") | ("tuple", "tuple")) {
        let mut others = right.try_iter()?;
        for item in left.try_iter()? {
            let Some(other) = others.next() else {
                return Ok(Ordering::Greater);
            };
            if item != other {
                return compare_nested(&item, &other, operator, depth + 1);
            }
        }
        let is_shorter = others.next().is_some();
        return Ok(if is_shorter {
            Ordering::Less
        } else {
            Ordering::Equal
        });
    }
    Err(type_error(format!(
        "'{operator}' not supported between instances of '{}' and '{}'",
        names.0, names.1
    )))
}

/// `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        let Some(part) = item.as_str() else {
            return Err(type_error(format!(
                "'in <string>' requires string as left operand, not {}",
                type_name(item)
            )));
        };
        return Ok(text.contains(part));
    }
    match container.kind() {
        ValueKind::Map => Ok(!container.get_item(item)?.is_undefined()
            || container.try_iter()?.any(|key| key == *item)),
        ValueKind::Undefined | ValueKind::Seq | ValueKind::Iterable => {
            Ok(container.try_iter()?.any(|each| each == *item))
        }
        _ => Err(type_error(format!(
            "argument of type '{}' is not iterable",
            type_name(container)
        ))),
    }
}
