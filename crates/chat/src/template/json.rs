//! JSON as Python's `json.dumps` writes it, which templates' `tojson` promises.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

/// The arguments of `json.dumps`.
#[derive(Debug, Default)]
pub(super) struct Style {
    /// What each level is indented by; everything on one line without it.
    pub(super) indent: Option<String>,
    /// Between items, and after keys. Python's default depends on `indent`.
    pub(super) separators: Option<[String; 2]>,
    /// Writes `\uXXXX` for all but ASCII.
    pub(super) ensure_ascii: bool,
    pub(super) sort_keys: bool,
}

/// Bytes after which nothing more is written, but for ends.
pub(super) const MAX_LENGTH: usize = 64 << 20;

/// Writes `value`. What is longer than [`MAX_LENGTH`] is cut off there.
pub(super) fn to_string(value: &Value, style: &Style) -> String {
    let mut writer = JsonWriter {
        output: String::new(),
        item_separator: match (&style.separators, &style.indent) {
            (Some([item, _]), _) => item,
            (None, Some(_)) => ",",
            (None, None) => ", ",
        },
        key_separator: match &style.separators {
            Some([_, key]) => key,
            None => ": ",
        },
        style,
    };
    writer.value(value, 0);
    writer.output
}

struct JsonWriter<'a> {
    output: String,
    item_separator: &'a str,
    key_separator: &'a str,
    style: &'a Style,
}

impl JsonWriter<'_> {
    fn value(&mut self, value: &Value, level: usize) {
        if self.output.len() > MAX_LENGTH {
            return;
        }
        match value {
            Value::Null => self.output.push_str("null"),
            Value::Bool(true) => self.output.push_str("true"),
            Value::Bool(false) => self.output.push_str("false"),
            Value::Number(number) => self.output.push_str(&python_number(number)),
            Value::String(text) => self.string(text),
            Value::Array(items) => self.array(items, level),
            Value::Object(entries) => self.object(entries, level),
        }
    }

    fn array(&mut self, items: &[Value], level: usize) {
        if items.is_empty() {
            return self.output.push_str("[]");
        }
        self.output.push('[');
        for (index, item) in items.iter().enumerate() {
            self.before_item(index, level + 1);
            self.value(item, level + 1);
        }
        self.new_line(level);
        self.output.push(']');
    }

    fn object(&mut self, entries: &Map<String, Value>, level: usize) {
        if entries.is_empty() {
            return self.output.push_str("{}");
        }
        let mut entries: Vec<_> = entries.iter().collect();
        if self.style.sort_keys {
            entries.sort_by_key(|(key, _)| *key);
        }
        self.output.push('{');
        for (index, (key, value)) in entries.into_iter().enumerate() {
            self.before_item(index, level + 1);
            self.string(key);
            self.output.push_str(self.key_separator);
            self.value(value, level + 1);
        }
        self.new_line(level);
        self.output.push('}');
    }

    fn before_item(&mut self, index: usize, level: usize) {
        if self.output.len() > MAX_LENGTH {
            return;
        }
        if index > 0 {
            self.output.push_str(self.item_separator);
        }
        self.new_line(level);
    }

    fn new_line(&mut self, level: usize) {
        let is_full = self.output.len() > MAX_LENGTH;
        if let Some(indent) = self.style.indent.as_ref().filter(|_| !is_full) {
            self.output.push('\n');
            for _ in 0..level {
                self.output.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.output.push('"');
        for character in text.chars() {
            match character {
                '"' => self.output.push_str("\\\""),
                '\\' => self.output.push_str("\\\\"),
                '\n' => self.output.push_str("\\n"),
                '\r' => self.output.push_str("\\r"),
                '\t' => self.output.push_str("\\t"),
                '\u{8}' => self.output.push_str("\\b"),
                '\u{c}' => self.output.push_str("\\f"),
                '\0'..='\u{1f}' => self.escape(character),
                // Noncharacters may be marks of ours (see `marking`), which are taken out later.
                '\u{fdd0}'..='\u{fdef}' => self.output.push(character),
                _ if self.style.ensure_ascii && !character.is_ascii() => self.escape(character),
                _ => self.output.push(character),
            }
        }
        self.output.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(self.output, "\\u{unit:04x}").expect("writing to a String cannot fail");
        }
    }
}

/// A number as Python's `repr` writes it: exponents have a sign and two digits, and begin at
/// 1e16 and 1e-5.
pub(super) fn python_number(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let scientific = format!("{float:e}");
        if let Some((digits, exponent)) = scientific.split_once('e') {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            return format!("{digits}e{sign}{exponent:0>2}");
        }
    }
    format!("{float:?}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_written_as_in_python() {
        // Each as CPython 3.12 prints it.
        let numbers = json!([
            1,
            -2,
            1.0,
            0.1,
            1e16,
            1.5e300,
            1e-5,
            0.0001,
            123456789.25,
            -0.0
        ]);
        assert_eq!(
            to_string(&numbers, &Style::default()),
            "[1, -2, 1.0, 0.1, 1e+16, 1.5e+300, 1e-05, 0.0001, 123456789.25, -0.0]"
        );
    }

    #[test]
    fn strings_are_escaped_as_in_python() {
        let text = json!("\"\\\n\u{1}\u{7f}é🦀/<");
        assert_eq!(
            to_string(&text, &Style::default()),
            "\"\\\"\\\\\\n\\u0001\u{7f}é🦀/<\""
        );
        let ascii = Style {
            ensure_ascii: true,
            ..Style::default()
        };
        assert_eq!(to_string(&json!("é🦀"), &ascii), r#""\u00e9\ud83e\udd80""#);
    }
}
