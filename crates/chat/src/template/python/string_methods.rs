//! The methods of Python's strings.

use minijinja::value::Tuple;
use minijinja::{Error, ErrorKind, Value};

use super::arguments::Arguments;
use super::percent::{MAX_WIDTH, str_format, too_wide};
use super::string_tests::{self, is_space};
use super::values::{check_length, items, type_error, type_name};

/// Calls `text.method(given…)`.
pub(super) fn call(text: &str, method: &str, given: &[Value]) -> Result<Value, Error> {
    if let Some(test) = string_tests::named(method) {
        Arguments::bind(&[], 0, given)?;
        return Ok(Value::from(test(text)));
    }
    let bind = |names, required| Arguments::bind(names, required, given);
    let alone = |output: String| {
        Arguments::bind(&[], 0, given)?;
        Ok(Value::from(output))
    };
    match method {
        "upper" => alone(text.to_uppercase()),
        "lower" | "casefold" => alone(case_folded(text, method == "casefold")),
        "capitalize" => alone(capitalized(text)),
        "title" => alone(title(text)),
        "swapcase" => alone(swap_case(text)),
        "strip" | "lstrip" | "rstrip" => {
            let arguments = bind(&["chars"], 0)?;
            let (left, right) = (method != "rstrip", method != "lstrip");
            Ok(strip(text, arguments.string(0)?, left, right).into())
        }
        "split" | "rsplit" => {
            let arguments = bind(&["sep", "maxsplit"], 0)?;
            let at_most = usize::try_from(arguments.int(1)?.unwrap_or(-1)).unwrap_or(usize::MAX);
            split(text, arguments.string(0)?, at_most, method == "rsplit")
        }
        "splitlines" => {
            let keeps_ends = bind(&["keepends"], 0)?.flag(0, false);
            Ok(lines(text, keeps_ends)
                .into_iter()
                .map(Value::from)
                .collect())
        }
        "partition" | "rpartition" => {
            let arguments = bind(&["sep"], 1)?;
            let sep = required(&arguments, 0)?;
            partition(text, sep, method == "rpartition")
        }
        "replace" => {
            let arguments = bind(&["old", "new", "count"], 2)?;
            let count = arguments.int(2)?.unwrap_or(-1);
            let (old, new) = (required(&arguments, 0)?, required(&arguments, 1)?);
            replace(text, old, new, count).map(Value::from)
        }
        "removeprefix" | "removesuffix" => {
            let arguments = bind(&["affix"], 1)?;
            let affix = required(&arguments, 0)?;
            let cut = match method {
                "removeprefix" => text.strip_prefix(affix),
                _ => text.strip_suffix(affix),
            };
            Ok(cut.unwrap_or(text).into())
        }
        "startswith" | "endswith" => {
            let arguments = bind(&["affix", "start", "end"], 1)?;
            has_affix(within(text, &arguments)?.1, &arguments, method)
        }
        "find" | "rfind" | "index" | "rindex" => {
            find(text, method, &bind(&["sub", "start", "end"], 1)?)
        }
        "count" => {
            let arguments = bind(&["sub", "start", "end"], 1)?;
            let (_, inside) = within(text, &arguments)?;
            Ok(inside.matches(required(&arguments, 0)?).count().into())
        }
        "join" => join(text, &bind(&["iterable"], 1)?),
        "center" | "ljust" | "rjust" => {
            let arguments = bind(&["width", "fillchar"], 1)?;
            let width = arguments.int(0)?.unwrap_or(0);
            let mut fill = arguments.string(1)?.unwrap_or(" ").chars();
            let (Some(fill), None) = (fill.next(), fill.next()) else {
                return Err(type_error(
                    "The fill character must be exactly one character long",
                ));
            };
            let padded = match method {
                "center" => center(text, width, fill)?,
                "ljust" => text.to_owned() + &padding(text, width, fill)?,
                _ => padding(text, width, fill)? + text,
            };
            Ok(padded.into())
        }
        "zfill" => {
            let width = bind(&["width"], 1)?.int(0)?.unwrap_or(0);
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            Ok(format!("{sign}{}{digits}", padding(text, width, '0')?).into())
        }
        "expandtabs" => {
            let width = bind(&["tabsize"], 0)?.int(0)?.unwrap_or(8);
            expand_tabs(text, width).map(Value::from)
        }
        "format" => str_format(text, given).map(Value::from),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// A string argument that has to be there.
fn required(arguments: &Arguments, index: usize) -> Result<&str, Error> {
    arguments
        .string(index)?
        .ok_or_else(|| type_error("must be str, not NoneType"))
}

fn case_folded(text: &str, fully: bool) -> String {
    let lower = text.to_lowercase();
    if fully {
        lower.replace('ß', "ss")
    } else {
        lower
    }
}

/// The first letter large, the others small.
pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        None => String::new(),
        Some(first) => {
            first.to_uppercase().collect::<String>() + &characters.as_str().to_lowercase()
        }
    }
}

/// `str.title`: letters behind what is no letter are large.
fn title(text: &str) -> String {
    let mut output = String::new();
    let mut inside = false;
    for character in text.chars() {
        if inside {
            output.extend(character.to_lowercase());
        } else {
            output.extend(character.to_uppercase());
        }
        inside = character.is_alphabetic();
    }
    output
}

fn swap_case(text: &str) -> String {
    let mut output = String::new();
    for character in text.chars() {
        if character.is_uppercase() {
            output.extend(character.to_lowercase());
        } else {
            output.extend(character.to_uppercase());
        }
    }
    output
}

pub(super) fn strip(text: &str, chars: Option<&str>, left: bool, right: bool) -> String {
    let belongs = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left {
        text.trim_start_matches(belongs)
    } else {
        text
    };
    let text = if right {
        text.trim_end_matches(belongs)
    } else {
        text
    };
    text.to_owned()
}

fn split(text: &str, sep: Option<&str>, at_most: usize, from_right: bool) -> Result<Value, Error> {
    let count = at_most.saturating_add(1);
    let mut parts: Vec<&str> = match sep {
        Some("") => return Err(type_error("empty separator")),
        Some(sep) if from_right => text.rsplitn(count, sep).collect(),
        Some(sep) => text.splitn(count, sep).collect(),
        None => split_at_blanks(text, at_most, from_right),
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Words, of which the last has the rest of the text once there were enough.
fn split_at_blanks(text: &str, at_most: usize, from_right: bool) -> Vec<&str> {
    let trim: fn(&str) -> &str = match from_right {
        true => |text| text.trim_end_matches(is_space),
        false => |text| text.trim_start_matches(is_space),
    };
    let mut words = Vec::new();
    let mut rest = trim(text);
    while !rest.is_empty() {
        let blank = match from_right {
            true => rest.rfind(is_space),
            false => rest.find(is_space),
        };
        let Some(blank) = blank.filter(|_| words.len() < at_most) else {
            words.push(rest);
            break;
        };
        let width = rest[blank..].chars().next().map_or(1, char::len_utf8);
        let (word, behind) = match from_right {
            true => (&rest[blank + width..], &rest[..blank]),
            false => (&rest[..blank], &rest[blank + width..]),
        };
        words.push(word);
        rest = trim(behind);
    }
    words
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(ends) {
        let behind = &rest[end..];
        let width = match behind.starts_with("\r\n") {
            true => 2,
            false => behind.chars().next().map_or(1, char::len_utf8),
        };
        found.push(&rest[..end + if keeps_ends { width } else { 0 }]);
        rest = &rest[end + width..];
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

fn partition(text: &str, sep: &str, from_right: bool) -> Result<Value, Error> {
    if sep.is_empty() {
        return Err(type_error("empty separator"));
    }
    let parts = match from_right {
        true => text.rsplit_once(sep),
        false => text.split_once(sep),
    };
    let parts = match parts {
        Some((before, behind)) => [before, sep, behind],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `str.replace`.
pub(super) fn replace(text: &str, old: &str, new: &str, count: i64) -> Result<String, Error> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let places = (text.len() / old.len().max(1) + 1).min(count);
    check_length(places.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(text.replacen(old, new, count))
}

/// The part of `text` between the arguments `start` and `end`, and the bytes before it.
fn within<'a>(text: &'a str, arguments: &Arguments) -> Result<(usize, &'a str), Error> {
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let byte = |index: Option<i64>, default: i64| {
        let index = index.unwrap_or(default);
        let index = if index < 0 {
            (index + count).max(0)
        } else {
            index.min(count)
        };
        let index = usize::try_from(index).unwrap_or(0);
        text.char_indices()
            .nth(index)
            .map_or(text.len(), |(byte, _)| byte)
    };
    let start = byte(arguments.int(1)?, 0);
    let end = byte(arguments.int(2)?, count).max(start);
    Ok((start, &text[start..end]))
}

fn has_affix(text: &str, arguments: &Arguments, method: &str) -> Result<Value, Error> {
    let wrong = |value: &Value| {
        let found = type_name(value);
        type_error(format!(
            "{method} first arg must be str or a tuple of str, not {found}"
        ))
    };
    let has = |affix: &Value| {
        let affix = affix.as_str().ok_or_else(|| wrong(affix))?;
        Ok::<bool, Error>(match method {
            "startswith" => text.starts_with(affix),
            _ => text.ends_with(affix),
        })
    };
    let affix = arguments.get(0).unwrap_or(&Value::UNDEFINED);
    if !affix.is_tuple() {
        return has(affix).map(Value::from);
    }
    for each in affix.try_iter()? {
        if has(&each)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn find(text: &str, method: &str, arguments: &Arguments) -> Result<Value, Error> {
    let sub = required(arguments, 0)?;
    let (start, inside) = within(text, arguments)?;
    let found = match method {
        "find" | "index" => inside.find(sub),
        _ => inside.rfind(sub),
    };
    match found {
        Some(at) => Ok(text[..start + at].chars().count().into()),
        None if method.ends_with("index") => Err(type_error("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn join(separator: &str, arguments: &Arguments) -> Result<Value, Error> {
    let parts = arguments.get(0).unwrap_or(&Value::UNDEFINED);
    let mut output = String::new();
    for (index, part) in items(parts)?.enumerate() {
        if index > 0 {
            output.push_str(separator);
        }
        let text = part.as_str().ok_or_else(|| {
            let found = type_name(&part);
            type_error(format!(
                "sequence item {index}: expected str instance, {found} found"
            ))
        })?;
        output.push_str(text);
        check_length(output.len())?;
    }
    Ok(output.into())
}

/// As many `fill` as `text` lacks to be `width` wide.
fn padding(text: &str, width: i64, fill: char) -> Result<String, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    if width > MAX_WIDTH {
        return Err(too_wide());
    }
    let missing = width.saturating_sub(text.chars().count());
    Ok(std::iter::repeat_n(fill, missing).collect())
}

/// `str.center`: of an odd padding, the larger half is on the left where the width is odd.
pub(super) fn center(text: &str, width: i64, fill: char) -> Result<String, Error> {
    let all: Vec<char> = padding(text, width, fill)?.chars().collect();
    let left = all.len() / 2 + (all.len() & usize::from(width % 2 == 1) & 1);
    let side = |count| std::iter::repeat_n(fill, count).collect::<String>();
    Ok(side(left) + text + &side(all.len() - left))
}

fn expand_tabs(text: &str, width: i64) -> Result<String, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    check_length(text.matches('\t').count().saturating_mul(width))?;
    let mut output = String::new();
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let blanks = if width == 0 {
                    0
                } else {
                    width - column % width
                };
                output.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            '\n' | '\r' => {
                output.push(character);
                column = 0;
            }
            _ => {
                output.push(character);
                column += 1;
            }
        }
    }
    Ok(output)
}
