//! Formatting with `%`, and with `str.format`.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::arguments::split;
use super::values::{check_length, repr, to_float, to_text, type_error, type_name};

/// How wide a field may be made: what the formatter of the standard library takes. Templates align
/// columns, if anything.
pub(super) const MAX_WIDTH: usize = u16::MAX as usize;

/// `text % value`.
pub(super) fn percent(text: &str, value: &Value) -> Result<String, Error> {
    if value.is_tuple() {
        let values: Vec<Value> = value.try_iter()?.collect();
        fill(text, &values, None)
    } else if value.kind() == ValueKind::Map {
        fill(text, std::slice::from_ref(value), Some(value))
    } else {
        fill(text, std::slice::from_ref(value), None)
    }
}

/// The filter `format`, whose arguments are those of `%`.
pub(super) fn format_filter(text: &str, given: &[Value]) -> Result<String, Error> {
    match split(given)? {
        ([], Some(by_name)) => {
            let by_name = Value::from(by_name);
            fill(text, std::slice::from_ref(&by_name), Some(&by_name))
        }
        ([single], None) if single.kind() == ValueKind::Map => percent(text, single),
        (values, _) => fill(text, values, None),
    }
}

/// `text.format(…)`. Any number in the text may be the width of a field.
pub(super) fn str_format(text: &str, given: &[Value]) -> Result<String, Error> {
    if text.contains('{') {
        let runs = text.split(|c: char| !c.is_ascii_digit());
        let widths = runs.filter(|run| !run.is_empty()).map(str::parse);
        let all = widths.map(|width: Result<usize, _>| width.unwrap_or(usize::MAX));
        check_length(all.fold(0, usize::saturating_add))?;
        let mut longest = 0;
        for value in given {
            longest = longest.max(to_text(value).map_or(0, |text| text.len()));
        }
        let fields = text.matches('{').count();
        check_length(fields.saturating_mul(longest).saturating_add(text.len()))?;
    }
    format(FormatStyle::StrFormat, text, given)
}

/// A conversion: `%(key)-05.2f`.
#[derive(Default)]
struct Field<'a> {
    key: Option<&'a str>,
    flags: &'a str,
    width: Option<usize>,
    precision: Option<usize>,
    kind: char,
}

fn fill(text: &str, values: &[Value], mapping: Option<&Value>) -> Result<String, Error> {
    let mut output = String::with_capacity(text.len());
    let mut used = 0;
    let mut took_by_key = false;
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        output.push_str(&rest[..start]);
        let (field, length) = Field::read(&rest[start + 1..])?;
        rest = &rest[start + 1 + length..];
        if field.kind == '%' {
            output.push('%');
            continue;
        }
        let value = match (field.key, mapping) {
            (Some(key), Some(mapping)) => {
                took_by_key = true;
                let value = mapping.get_item(&Value::from(key))?;
                if value.is_undefined() {
                    return Err(type_error(format!("no such key: '{key}'")));
                }
                value
            }
            (Some(_), None) => return Err(type_error("format requires a mapping")),
            (None, _) => {
                used += 1;
                let value = values.get(used - 1).cloned();
                value.ok_or_else(|| type_error("not enough arguments for format string"))?
            }
        };
        output.push_str(&field.fill(&value)?);
        check_length(output.len())?;
    }
    output.push_str(rest);
    if used < values.len() && mapping.is_none() && !took_by_key {
        let message = "not all arguments converted during string formatting";
        return Err(type_error(message));
    }
    Ok(output)
}

impl<'a> Field<'a> {
    /// Reads what follows a `%`.
    fn read(text: &'a str) -> Result<(Self, usize), Error> {
        let mut field = Self::default();
        let mut rest = text;
        if let Some(inside) = rest.strip_prefix('(') {
            let (key, behind) = inside
                .split_once(')')
                .ok_or_else(|| type_error("incomplete format key"))?;
            field.key = Some(key);
            rest = behind;
        }
        let behind = rest.trim_start_matches(['#', '0', '-', ' ', '+']);
        field.flags = &rest[..rest.len() - behind.len()];
        (field.width, rest) = number(behind)?;
        if let Some(behind) = rest.strip_prefix('.') {
            let (precision, behind) = number(behind)?;
            field.precision = Some(precision.unwrap_or(0));
            rest = behind;
        }
        rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
        let kind = rest.chars().next();
        field.kind = kind.ok_or_else(|| type_error("incomplete format"))?;
        if !"diouxXeEfFgGcrsa%".contains(field.kind) {
            let kind = field.kind;
            return Err(type_error(format!("unsupported format character '{kind}'")));
        }
        Ok((field, text.len() - rest.len() + 1))
    }

    fn fill(&self, value: &Value) -> Result<String, Error> {
        let text = match self.kind {
            's' => to_text(value)?,
            'r' | 'a' => repr(value)?,
            'd' | 'i' | 'u' => {
                let number = to_float(value).ok_or_else(|| {
                    let found = type_name(value);
                    type_error(format!("%d format: a real number is required, not {found}"))
                })?;
                let is_whole = value.is_integer();
                let whole = if is_whole {
                    value.clone()
                } else {
                    Value::from(number as i64)
                };
                return self.fill_number(&whole, 'd');
            }
            kind => return self.fill_number(value, kind),
        };
        let mut text = text;
        if let Some(precision) = self.precision {
            text = text.chars().take(precision).collect();
        }
        let width = self.width.unwrap_or(0);
        Ok(if self.flags.contains('-') {
            format!("{text:<width$}")
        } else {
            format!("{text:>width$}")
        })
    }

    fn fill_number(&self, value: &Value, kind: char) -> Result<String, Error> {
        let mut pattern = format!("%{}", self.flags);
        pattern.extend(self.width.map(|width| width.to_string()));
        pattern.extend(self.precision.map(|precision| format!(".{precision}")));
        pattern.push(kind);
        format(FormatStyle::Printf, &pattern, std::slice::from_ref(value))
    }
}

/// The number that `text` begins with, if it does.
fn number(text: &str) -> Result<(Option<usize>, &str), Error> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let number = digits.parse().ok().filter(|&width| width <= MAX_WIDTH);
    Ok((Some(number.ok_or_else(too_wide)?), rest))
}

pub(super) fn too_wide() -> Error {
    type_error(format!("a field is wider than {MAX_WIDTH} characters"))
}
