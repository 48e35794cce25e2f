//! The keywords that take no subschema: is the value valid, and can it be enforced exactly?

use serde_json::{Number, Value};

use super::path;
use crate::GrammarError;

pub(super) type Result<T> = std::result::Result<T, GrammarError>;

pub(super) fn unsupported<T>(path: &str, keyword: &str, reason: &str) -> Result<T> {
    Err(GrammarError::UnsupportedSchema {
        path: path::member(path, keyword),
        keyword: keyword.to_owned(),
        reason: reason.to_owned(),
    })
}

pub(super) fn invalid<T>(path: String, reason: impl Into<String>) -> Result<T> {
    Err(GrammarError::InvalidSchema {
        path,
        reason: reason.into(),
    })
}

pub(super) const TYPES: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];

/// `type`: one name or a list of names.
pub(super) fn type_names(value: &Value, path: &str) -> Result<()> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let valid = match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        name => known(name),
    };
    if valid {
        return Ok(());
    }
    invalid(
        path::member(path, "type"),
        format!("it must be one or several of {}", TYPES.join(", ")),
    )
}

/// True if a schema with this `type` (or none) lets values of type `name` through.
pub(super) fn admits(types: Option<&Value>, name: &str) -> bool {
    match types {
        None => true,
        Some(Value::Array(names)) => names.iter().any(|given| given == name),
        Some(given) => given == name,
    }
}

/// `minLength` and the like: a whole number, which may be spelled `2.0`.
pub(super) fn count(value: &Value, path: &str, keyword: &str) -> Result<u64> {
    let float = value
        .as_f64()
        .filter(|float| float.fract() == 0.0 && (0.0..=MAX_EXACT).contains(float));
    match (value.as_u64(), float) {
        (Some(count), _) => Ok(count),
        (None, Some(float)) => Ok(float as u64),
        (None, None) => invalid(
            path::member(path, keyword),
            "it must be a whole number that is not negative",
        ),
    }
}

/// `minimum` and the like.
pub(super) fn bound(value: &Value, path: &str, keyword: &str) -> Result<()> {
    match value {
        Value::Number(number) if number.as_f64().is_none_or(|bound| bound.abs() > MAX_BOUND) => {
            unsupported(path, keyword, "it does not fit into 64 bits")
        }
        Value::Number(number) => exact(number, &path::member(path, keyword), keyword),
        _ => invalid(path::member(path, keyword), "it must be a number"),
    }
}

/// A value of `multipleOf`: `coefficient / 10^exponent`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    coefficient: u64,
    exponent: u32,
}

/// Largest step, in units of its last digit. The compiler keeps a state for each remainder, and a
/// client waits for all of them: at this size some tenths of a second.
const MAX_STEP: u64 = 100_000;

impl Step {
    /// Reads a step that the compiler can count by.
    pub(super) fn read(value: &Value, path: &str) -> Result<Self> {
        let keyword = "multipleOf";
        bound(value, path, keyword)?;
        let mut scaled = value.as_f64().unwrap_or_default();
        if scaled <= 0.0 {
            return invalid(path::member(path, keyword), "it must be greater than 0");
        }
        let mut exponent = 0;
        while scaled.fract() != 0.0 && exponent < 9 {
            scaled *= 10.0;
            exponent += 1;
        }
        if scaled.fract() != 0.0 || scaled > MAX_STEP as f64 {
            return unsupported(path, keyword, "it has too many digits");
        }
        Ok(Self {
            coefficient: scaled as u64,
            exponent,
        })
    }

    /// Whether the compiler can count by both at once, as where two schemas apply to a number.
    pub(super) fn goes_with(self, other: Self) -> bool {
        let scale = |exponent: u32| 10_u64.pow(exponent);
        let own = self.coefficient * scale(other.exponent.saturating_sub(self.exponent));
        let others = other.coefficient * scale(self.exponent.saturating_sub(other.exponent));
        own.saturating_mul(others) <= MAX_STEP
    }
}

/// The values of `const` and `enum`: any, if their numbers can be told apart.
pub(super) fn literal(value: &Value, path: &str, keyword: &str) -> Result<()> {
    match value {
        Value::Number(number) => exact(number, path, keyword),
        Value::String(text) if text.contains(has_no_escape) => {
            Err(GrammarError::UnsupportedSchema {
                path: path.to_owned(),
                keyword: keyword.to_owned(),
                reason: "it holds a control character".to_owned(),
            })
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| literal(item, path, keyword)),
        Value::Object(map) => map
            .values()
            .try_for_each(|item| literal(item, path, keyword)),
        _ => Ok(()),
    }
}

/// Control characters that JSON can only write as `\u0000`, which the grammar's strings don't.
fn has_no_escape(character: char) -> bool {
    character.is_ascii_control() && !matches!(character, '\n' | '\r' | '\t' | '\x08' | '\x0C')
}

/// The compiler's regexes of ranges are made of 64-bit integers.
const MAX_BOUND: f64 = 9.2e18;
/// Whole numbers below this have a `f64` of their own: the compiler's arithmetic.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn exact(number: &Number, path: &str, keyword: &str) -> Result<()> {
    let whole = number.is_i64() || number.is_u64();
    let magnitude = number.as_f64().map_or(f64::INFINITY, f64::abs);
    if magnitude.is_finite() && (!whole || magnitude < MAX_EXACT) {
        return Ok(());
    }
    Err(GrammarError::UnsupportedSchema {
        path: path.to_owned(),
        keyword: keyword.to_owned(),
        reason: format!("{number} can't be represented exactly"),
    })
}

/// The value of `pattern`, or a name in `patternProperties`: a regex of ECMA 262, in the syntax of
/// the crate `regex`.
pub(super) fn regex(pattern: &str, path: &str, keyword: &str) -> Result<String> {
    let complaint = if pattern.contains("(?=") || pattern.contains("(?!") {
        "lookahead"
    } else if pattern.contains("(?<=") || pattern.contains("(?<!") {
        "lookbehind"
    } else if pattern.contains("(?P<stop>") || pattern.contains("(?<stop>") {
        // llguidance's own notation for a lookahead.
        "group named `stop`"
    } else {
        return Ok(translate(pattern));
    };
    let reason = format!("a regular language has no {complaint}");
    unsupported(path, keyword, &reason)
}

/// In ECMA 262 the dot excludes more line ends, and the byte order mark is a space.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(character) = chars.next() {
        match character {
            '\\' => match chars.next() {
                Some('s') => translated.push_str(r"[\s\u{FEFF}]"),
                Some('S') => translated.push_str(r"[^\s\u{FEFF}]"),
                Some(escaped) => translated.extend(['\\', escaped]),
                None => translated.push('\\'),
            },
            '.' if !in_class => translated.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            _ => {
                in_class = character == '[' || in_class && character != ']';
                translated.push(character);
            }
        }
    }
    translated
}

/// A list of strings, such as the value of `required`.
pub(super) fn strings<'a>(value: &'a Value, path: &str) -> Result<Vec<&'a str>> {
    let list = value.as_array();
    let strings = list.and_then(|items| items.iter().map(Value::as_str).collect());
    match strings {
        Some(strings) => Ok(strings),
        None => invalid(path.to_owned(), "it must be a list of strings"),
    }
}
