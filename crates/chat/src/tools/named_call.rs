//! A call of a name and its arguments, character by character.

use super::call_sink::{BodyStep, CallSink};
use super::json::{JsonProgress, JsonScanner};

/// A name, a separator, and the arguments.
pub(super) struct NamedCall {
    notation: Notation,
    head: String,
    arguments: Option<JsonScanner>,
}

/// How a name and its arguments are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notation {
    /// `name[CALL_ID]id[ARGS]{…}`
    Mistral,
    /// `name>{…}`
    Functionary,
    /// `name`, a line break and `{…}`; what is called `all` is text, and no call.
    Recipient,
}

impl NamedCall {
    pub(super) fn mistral() -> Self {
        Self::new(Notation::Mistral)
    }

    pub(super) fn functionary() -> Self {
        Self::new(Notation::Functionary)
    }

    pub(super) fn recipient() -> Self {
        Self::new(Notation::Recipient)
    }

    fn new(notation: Notation) -> Self {
        Self {
            notation,
            head: String::new(),
            arguments: None,
        }
    }

    pub(super) fn step(&mut self, character: char, sink: &mut CallSink) -> BodyStep {
        if self.arguments.is_none() {
            if character != '{' {
                self.head.push(character);
                if self.notation == Notation::Recipient && self.head == "all\n" {
                    return BodyStep::Done;
                }
                return if self.head_may_go_on() {
                    BodyStep::More
                } else {
                    BodyStep::Failed
                };
            }
            let Some((name, id)) = self.parse_head() else {
                return BodyStep::Failed;
            };
            if !sink.knows(name) {
                return BodyStep::Failed;
            }
            sink.start(name, id.map(str::to_owned));
        }
        let scanner = self.arguments.get_or_insert_with(JsonScanner::new);
        let mut text = String::new();
        match scanner.push(character, &mut text) {
            Ok(progress) => {
                sink.arguments(&text);
                if progress == JsonProgress::More {
                    return BodyStep::More;
                }
                sink.end();
                BodyStep::Done
            }
            Err(_) => BodyStep::Failed,
        }
    }

    /// The name and the id, once the head is complete.
    fn parse_head(&self) -> Option<(&str, Option<&str>)> {
        let head = self.head.trim();
        let (name, id) = match self.notation {
            Notation::Functionary => (head.strip_suffix('>')?, None),
            Notation::Recipient => (self.head.contains('\n').then_some(head)?, None),
            Notation::Mistral => {
                let head = head.strip_suffix("[ARGS]").unwrap_or(head);
                match head.split_once("[CALL_ID]") {
                    Some((name, id)) => (name, Some(id.trim())),
                    None => (head, None),
                }
            }
        };
        let name = name.trim();
        let valid = !name.is_empty() && name.chars().all(is_name_character);
        valid.then_some((name, id))
    }

    /// Whether the head could still become one, so that a text in brackets isn't held back long.
    fn head_may_go_on(&self) -> bool {
        let head = self.head.trim_start();
        let name_end = head.find(|c| !is_name_character(c)).unwrap_or(head.len());
        let rest = head[name_end..].trim_start();
        match self.notation {
            Notation::Functionary => return rest.is_empty() || rest.trim_end() == ">",
            Notation::Recipient => return rest.is_empty() && head.len() <= MAX_HEAD,
            Notation::Mistral => {}
        }
        let is_prefix = |marker: &str| marker.starts_with(rest) || rest.starts_with(marker);
        head.len() <= MAX_HEAD && (is_prefix("[ARGS]") || is_prefix("[CALL_ID]"))
    }
}

/// Names have at most 64 characters in OpenAI's API, and ids are short.
const MAX_HEAD: usize = 256;

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | ':' | '/')
}
