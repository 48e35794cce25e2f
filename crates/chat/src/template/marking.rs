//! Keeps control tokens that a user wrote from becoming control tokens.
//!
//! Wherever a string of a request could begin a control token, a mark is put after its first
//! character before the template sees it:
//!
//! ```text
//! control tokens: <|im_start|> <|im_end|>        mark: ·
//! content:  "say <|im_end|> now"     ──▶  "say <·|im_end|> now"
//! rendered: "<|im_start|>user\nsay <·|im_end|> now<|im_end|>\n"
//! parsed:    ^^^^^^^^^^^^                         ^^^^^^^^^^
//! ```
//!
//! The tokenizer looks for control tokens while the marks are in place, takes the marks out, and
//! reads the rest as ordinary text. The mark is one of the noncharacters U+FDD0 to U+FDEF, which
//! Unicode reserves for such use inside a program: one that occurs nowhere in the request.
//!
//! Marking beginnings, two characters long, and not only whole tokens, also covers tokens that
//! come about when a template joins strings or cuts something out of them.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::error::TemplateError;

const FIRST_NONCHARACTER: u32 = 0xFDD0;
const LAST_NONCHARACTER: u32 = 0xFDEF;

/// Texts that templates look for inside messages and that are left whole, so that they are found.
const LEFT_WHOLE: &[&str] = &["<think>", "</think>", "<tool_call>", "<tool_response>"];

/// Knows how control tokens begin.
#[derive(Debug)]
pub(super) struct Marking {
    first: HashSet<char>,
    first_two: HashSet<(char, char)>,
    /// Noncharacters that the template itself contains, a bit each.
    used_by_template: u32,
}

/// Two noncharacters that occur nowhere in a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Markers {
    /// Breaks up control tokens.
    pub(super) text: char,
    /// Stands at the end of a message that is to be continued.
    pub(super) end: char,
}

impl Marking {
    pub(super) fn new<'a>(
        control_tokens: &[String],
        sources: impl Iterator<Item = &'a str>,
    ) -> Self {
        let beginnings = control_tokens.iter().filter_map(|token| {
            let mut characters = token.chars();
            Some((characters.next()?, characters.next()?))
        });
        let first_two: HashSet<_> = beginnings.collect();
        Self {
            first: first_two.iter().map(|&(first, _)| first).collect(),
            first_two,
            used_by_template: sources.fold(0, |used, source| used | noncharacters(source)),
        }
    }

    /// Noncharacters that are free in the whole request and in the template.
    pub(super) fn unused(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        kwargs: &Map<String, Value>,
    ) -> Result<Markers, TemplateError> {
        let used = self.used_by_template | noncharacters_in_object(kwargs);
        let values = messages.iter().chain(tools);
        let used = values.fold(used, |used, value| used | noncharacters_in(value));
        let mut free = (FIRST_NONCHARACTER..=LAST_NONCHARACTER)
            .filter(|code| used & (1 << (code - FIRST_NONCHARACTER)) == 0)
            .filter_map(char::from_u32);
        match (free.next(), free.next()) {
            (Some(text), Some(end)) => Ok(Markers { text, end }),
            _ => Err(TemplateError::Request {
                message: "the messages use nearly all of Unicode's noncharacters U+FDD0 to \
                          U+FDEF; two have to be free"
                    .to_owned(),
                param: "messages".to_owned(),
            }),
        }
    }

    /// Marks all strings in `value`, keys included; true if there was anything to mark.
    pub(super) fn mark(&self, value: &mut Value, marker: char) -> bool {
        match value {
            Value::String(text) => match self.marked(text, marker) {
                Some(marked) => {
                    *text = marked;
                    true
                }
                None => false,
            },
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |any, item| self.mark(item, marker) | any),
            Value::Object(entries) => self.mark_object(entries, marker),
            _ => false,
        }
    }

    /// Marks all strings in an object; true if there was anything to mark.
    pub(super) fn mark_object(&self, entries: &mut Map<String, Value>, marker: char) -> bool {
        let mut any = false;
        let marked = std::mem::take(entries).into_iter().map(|(key, mut value)| {
            // Templates compare roles and types to words; a word is never half a control token.
            let is_word = (key == "role" || key == "type")
                && value
                    .as_str()
                    .is_some_and(|word| word.bytes().all(is_word_byte));
            any |= !is_word && self.mark(&mut value, marker);
            match self.marked(&key, marker) {
                Some(marked) => {
                    any = true;
                    (marked, value)
                }
                None => (key, value),
            }
        });
        *entries = marked.collect();
        any
    }

    /// `text` with a mark wherever a control token could begin, `None` if nowhere.
    fn marked(&self, text: &str, marker: char) -> Option<String> {
        let mut output = String::new();
        let mut copied = 0;
        let last = text.trim_end().len();
        let following = text.chars().skip(1).map(Some).chain([None]);
        for ((start, character), next) in text.char_indices().zip(following) {
            let end = start + character.len_utf8();
            // At the end, what the template writes next could complete the token.
            let begins = next.is_some_and(|next| self.first_two.contains(&(character, next)))
                || end == last && self.first.contains(&character);
            if begins && !LEFT_WHOLE.iter().any(|tag| text[start..].starts_with(tag)) {
                output.push_str(&text[copied..end]);
                output.push(marker);
                copied = end;
            }
        }
        if copied == 0 {
            return None;
        }
        output.push_str(&text[copied..]);
        Some(output)
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

/// The noncharacters U+FDD0 to U+FDEF in a text, a bit each.
fn noncharacters(text: &str) -> u32 {
    text.chars()
        .map(u32::from)
        .filter(|code| (FIRST_NONCHARACTER..=LAST_NONCHARACTER).contains(code))
        .fold(0, |used, code| used | 1 << (code - FIRST_NONCHARACTER))
}

fn noncharacters_in(value: &Value) -> u32 {
    match value {
        Value::String(text) => noncharacters(text),
        Value::Array(items) => items
            .iter()
            .fold(0, |used, item| used | noncharacters_in(item)),
        Value::Object(entries) => noncharacters_in_object(entries),
        _ => 0,
    }
}

fn noncharacters_in_object(entries: &Map<String, Value>) -> u32 {
    entries.iter().fold(0, |used, (key, value)| {
        used | noncharacters(key) | noncharacters_in(value)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn marking(control_tokens: &[&str]) -> Marking {
        let tokens: Vec<String> = control_tokens
            .iter()
            .map(|&token| token.to_owned())
            .collect();
        Marking::new(&tokens, std::iter::empty())
    }

    fn marked(control_tokens: &[&str], mut value: Value) -> Value {
        marking(control_tokens).mark(&mut value, '·');
        value
    }

    #[test]
    fn every_place_where_a_control_token_could_begin_is_marked() {
        let tokens = ["<|im_end|>", "[INST]"];
        assert_eq!(
            marked(&tokens, json!("a <|im_end|> [INST]")),
            "a <·|im_end|> [·INST]"
        );
        assert_eq!(
            marked(&tokens, json!("<|im_/thinkend|>")),
            "<·|im_/thinkend|>"
        );
        assert_eq!(marked(&tokens, json!("ends with < \n")), "ends with <· \n");
        assert_eq!(marked(&tokens, json!("a < b, x[0]")), "a < b, x[0]");
    }

    #[test]
    fn keys_and_nested_strings_are_marked_but_not_roles() {
        let value = json!({"role": "user", "<|x": [{"name": "<|x"}], "type": "<|x"});
        assert_eq!(
            marked(&["<|x|>", "user"], value),
            json!({"role": "user", "<·|x": [{"name": "<·|x"}], "type": "<·|x"})
        );
    }

    #[test]
    fn tags_that_templates_look_for_stay_whole() {
        let text = json!("<think>a</think></s>");
        assert_eq!(marked(&["</s>", "<tool>"], text), "<think>a</think><·/s>");
    }

    #[test]
    fn markers_are_characters_that_occur_nowhere() {
        let unused = |message: Value, tools: Value, kwargs: Value| {
            marking(&[]).unused(&[message], Some(&tools), kwargs.as_object().unwrap())
        };
        let markers = unused(
            json!({"\u{fdd0}": "\u{fdd2}"}),
            json!(["\u{fdd1}"]),
            json!({"\u{fdd3}": 1}),
        );
        let markers = markers.unwrap();
        assert_eq!((markers.text, markers.end), ('\u{fdd4}', '\u{fdd5}'));
        let all: String = ('\u{fdd0}'..='\u{fdef}').collect();
        assert!(unused(json!(all), json!([]), json!({})).is_err());
    }
}
