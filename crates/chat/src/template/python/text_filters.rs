//! Jinja2's filters over text.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, Value};

use super::arguments::Arguments;
use super::filter::{Filter, filter};
use super::percent::{MAX_WIDTH, format_filter, too_wide};
use super::string_methods::{capitalized, center, lines, replace, strip};
use super::values::{check_length, items, to_float, to_text, type_error, undefined};

pub(super) const FILTERS: &[Filter] = &[
    filter("upper", &[], 0, |value, _| {
        Ok(to_text(value)?.to_uppercase().into())
    }),
    filter("lower", &[], 0, |value, _| {
        Ok(to_text(value)?.to_lowercase().into())
    }),
    filter("capitalize", &[], 0, |value, _| {
        Ok(capitalized(&to_text(value)?).into())
    }),
    filter("title", &[], 0, |value, _| {
        Ok(title(&to_text(value)?).into())
    }),
    filter("trim", &["chars"], 0, |value, arguments| {
        Ok(strip(&to_text(value)?, arguments.string(0)?, true, true).into())
    }),
    filter(
        "replace",
        &["old", "new", "count"],
        2,
        |value, arguments| {
            let [old, new] = [0, 1].map(|index| to_text(arguments.get(index).unwrap_or(value)));
            let count = arguments.int(2)?.unwrap_or(-1);
            replace(&to_text(value)?, &old?, &new?, count).map(Value::from)
        },
    ),
    filter("indent", &["width", "first", "blank"], 0, indent),
    filter("center", &["width"], 0, |value, arguments| {
        let width = arguments.int(0)?.unwrap_or(80);
        center(&to_text(value)?, width, ' ').map(Value::from)
    }),
    filter("wordcount", &[], 0, |value, _| {
        let text = to_text(value)?;
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        Ok(words.filter(|word| !word.is_empty()).count().into())
    }),
    filter(
        "truncate",
        &["length", "killwords", "end", "leeway"],
        0,
        truncate,
    ),
    filter("string", &[], 0, |value, _| Ok(to_text(value)?.into())),
    filter("escape", &[], 0, escape),
    filter("e", &[], 0, escape),
    filter("forceescape", &[], 0, escape),
    filter("urlencode", &[], 0, |value, _| {
        urlencode(value).map(Value::from)
    }),
    filter("filesizeformat", &["binary"], 0, |value, arguments| {
        let bytes = to_float(value).ok_or_else(|| type_error("a size is a number"))?;
        Ok(file_size(bytes, arguments.flag(0, false)).into())
    }),
];

/// The filter `format`, whose arguments have no names.
pub(super) fn format(text: Value, given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    format_filter(&to_text(&text)?, &given.into_values()).map(Value::from)
}

/// Each word with a large letter; words begin behind blanks, hyphens and opening brackets.
fn title(text: &str) -> String {
    let begins = |c: char| c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<');
    text.split_inclusive(begins).map(capitalized).collect()
}

fn indent(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(undefined());
    }
    let width = match arguments.get(0).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => {
            let width = usize::try_from(arguments.int(0)?.unwrap_or(4)).unwrap_or(0);
            let width = Some(width)
                .filter(|&width| width <= MAX_WIDTH)
                .ok_or_else(too_wide)?;
            " ".repeat(width)
        }
    };
    let (first, blank) = (arguments.flag(1, false), arguments.flag(2, false));
    let text = to_text(value)? + "\n";
    let lines = lines(&text, false);
    check_length(
        lines
            .len()
            .saturating_mul(width.len() + 1)
            .saturating_add(text.len()),
    )?;
    let mut output = String::new();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            output.push('\n');
        }
        let indents = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if indents {
            output.push_str(&width);
        }
        output.push_str(line);
    }
    Ok(output.into())
}

fn truncate(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let text = to_text(value)?;
    let end = arguments.text_of(2)?.unwrap_or_else(|| "...".to_owned());
    let length = arguments.int(0)?.unwrap_or(255);
    let leeway = arguments.int(3)?.unwrap_or(5);
    let end_length = i64::try_from(end.chars().count()).unwrap_or(i64::MAX);
    let kept = length.saturating_sub(end_length);
    let (Ok(kept), 0..) = (usize::try_from(kept), leeway) else {
        return Err(type_error("truncate: the length has to hold the end"));
    };
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if count <= length.saturating_add(leeway) {
        return Ok(text.into());
    }
    let cut: String = text.chars().take(kept).collect();
    let cut = match cut.rsplit_once(' ') {
        Some((words, _)) if !arguments.flag(1, false) => words.to_owned(),
        _ => cut,
    };
    Ok((cut + &end).into())
}

fn escape(value: &Value, _: &Arguments) -> Result<Value, Error> {
    let mut output = String::new();
    for character in to_text(value)?.chars() {
        match character {
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            '\'' => output.push_str("&#39;"),
            '"' => output.push_str("&#34;"),
            _ => output.push(character),
        }
    }
    Ok(Value::from_safe_string(output))
}

fn urlencode(value: &Value) -> Result<String, Error> {
    let quoted = |text: &str, is_query: bool| {
        let quote = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                char::from(byte).to_string()
            }
            b'/' if !is_query => "/".to_owned(),
            b' ' if is_query => "+".to_owned(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(quote).collect::<String>()
    };
    if value.as_str().is_some() || !matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        return Ok(quoted(&to_text(value)?, false));
    }
    let mut pairs = Vec::new();
    let mut bytes = 0;
    for item in items(value)? {
        let (key, entry) = match value.kind() {
            ValueKind::Map => (item.clone(), value.get_item(&item)?),
            _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
        };
        let (key, entry) = (to_text(&key)?, to_text(&entry)?);
        // A byte becomes three at most.
        bytes += 3 * (key.len() + entry.len()) + 2;
        check_length(bytes)?;
        pairs.push(format!("{}={}", quoted(&key, true), quoted(&entry, true)));
    }
    Ok(pairs.join("&"))
}

fn file_size(bytes: f64, is_binary: bool) -> String {
    let base = if is_binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return "1 Byte".to_owned();
    }
    if bytes < base {
        return format!("{} Bytes", bytes.trunc());
    }
    let units = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
    let mut size = bytes / base;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    let unit = units[unit];
    if is_binary {
        format!("{size:.1} {}iB", unit.to_ascii_uppercase())
    } else {
        format!("{size:.1} {unit}B")
    }
}
