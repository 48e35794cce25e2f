//! The bodies of calls, character by character.

use super::ToolEvent;
use super::json::{JsonScanner, Progress};
use super::pythonic::PythonicCalls;

/// What a character meant to the body of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the body, which goes on.
    More,
    /// It is the body's last.
    Done,
    /// It can't follow: what was not turned into events is no call.
    Failed,
}

/// Where calls are announced.
pub(super) struct Sink {
    pub(super) events: Vec<ToolEvent>,
    calls: usize,
    is_open: bool,
    /// The tools' names, if only these make a call.
    known_names: Option<Vec<String>>,
}

impl Sink {
    pub(super) fn new(known_names: Option<Vec<String>>) -> Self {
        Self {
            events: Vec::new(),
            calls: 0,
            is_open: false,
            known_names,
        }
    }

    /// How many calls have begun.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Whether a call has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        match &self.known_names {
            Some(names) => names.iter().any(|known| known == name),
            None => !name.is_empty(),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(ToolEvent::Text(last)) => last.push_str(text),
            _ => self.events.push(ToolEvent::Text(text.to_owned())),
        }
    }

    pub(super) fn start(&mut self, name: &str, id: Option<String>) {
        self.events.push(ToolEvent::CallStart {
            index: self.calls,
            id,
            name: name.to_owned(),
        });
        self.calls += 1;
        self.is_open = true;
    }

    pub(super) fn arguments(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(ToolEvent::ArgumentsDelta { fragment, .. }) => fragment.push_str(text),
            _ => self.events.push(ToolEvent::ArgumentsDelta {
                index: self.calls - 1,
                fragment: text.to_owned(),
            }),
        }
    }

    /// Ends the call that is open, if one is.
    pub(super) fn end(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.events.push(ToolEvent::CallEnd {
                index: self.calls - 1,
            });
        }
    }
}

/// What is between the opener and the closer.
pub(super) enum Body {
    Json(JsonCalls),
    Named(NamedCall),
    /// Mistral's, before the first character tells its two notations apart.
    Mistral,
    Pythonic(PythonicCalls),
}

impl Body {
    pub(super) fn step(&mut self, character: char, sink: &mut Sink) -> Step {
        match self {
            Self::Json(calls) => calls.step(character, sink),
            Self::Named(call) => call.step(character, sink),
            Self::Pythonic(calls) => calls.step(character, sink),
            Self::Mistral if character.is_whitespace() => Step::More,
            Self::Mistral => {
                *self = match character {
                    '[' | '{' => Self::Json(JsonCalls::new(true)),
                    _ => Self::Named(NamedCall::mistral()),
                };
                self.step(character, sink)
            }
        }
    }
}

/// One call as a JSON object, or several in a list.
pub(super) struct JsonCalls {
    lists_allowed: bool,
    in_list: bool,
    state: ListState,
}

enum ListState {
    /// Before an object, which a list may still begin.
    Start,
    /// After a comma in the list.
    Item,
    Object(Box<JsonCall>),
    /// After an object in the list.
    Next,
}

impl JsonCalls {
    pub(super) fn new(lists_allowed: bool) -> Self {
        Self {
            lists_allowed,
            in_list: false,
            state: ListState::Start,
        }
    }

    pub(super) fn step(&mut self, character: char, sink: &mut Sink) -> Step {
        if let ListState::Object(call) = &mut self.state {
            return match call.step(character, sink) {
                Step::Done if self.in_list => {
                    self.state = ListState::Next;
                    Step::More
                }
                step => step,
            };
        }
        self.state = match (&self.state, character) {
            _ if character.is_whitespace() => return Step::More,
            (ListState::Start | ListState::Item, '{') => ListState::Object(Box::default()),
            (ListState::Start, '[') if self.lists_allowed && !self.in_list => {
                self.in_list = true;
                ListState::Item
            }
            (ListState::Next, ',') => ListState::Item,
            (ListState::Next, ']') => return Step::Done,
            _ => return Step::Failed,
        };
        Step::More
    }
}

/// `{"name": …, "arguments": {…}}`, in any order of the keys; after its opening brace.
#[derive(Default)]
struct JsonCall {
    state: CallState,
    name: Option<String>,
    id: Option<String>,
    /// Arguments that came before the name.
    early_arguments: Option<String>,
    started: bool,
}

#[derive(Default)]
enum CallState {
    /// Before a key; the object may end here if it is the first.
    #[default]
    FirstKey,
    NextKey,
    Key(String),
    Colon(Member),
    /// Before the value.
    Value(Member),
    Inside {
        member: Member,
        text: String,
        scanner: JsonScanner,
        /// The value is the arguments of a call that has started: its text is out already.
        streamed: bool,
    },
    AfterValue,
}

/// What a key of the call object is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    Arguments,
    Id,
    /// `"type": "function"`.
    Type,
}

impl Member {
    fn of_key(key: &str) -> Option<Self> {
        Some(match key {
            "name" => Self::Name,
            "arguments" | "parameters" => Self::Arguments,
            "id" => Self::Id,
            "type" => Self::Type,
            _ => return None,
        })
    }
}

impl JsonCall {
    fn step(&mut self, character: char, sink: &mut Sink) -> Step {
        let is_blank = character.is_ascii_whitespace();
        self.state = match std::mem::take(&mut self.state) {
            CallState::Key(key) if character == '"' => match Member::of_key(&key) {
                Some(member) => CallState::Colon(member),
                None => return Step::Failed,
            },
            CallState::Key(mut key) => {
                key.push(character);
                // No key that matters is longer.
                if key.len() > "parameters".len() {
                    return Step::Failed;
                }
                CallState::Key(key)
            }
            CallState::Inside {
                member,
                text,
                scanner,
                streamed,
            } => return self.inside(character, sink, member, text, scanner, streamed),
            state if is_blank => state,
            CallState::FirstKey | CallState::NextKey if character == '"' => {
                CallState::Key(String::new())
            }
            CallState::Colon(member) if character == ':' => CallState::Value(member),
            CallState::Value(member) => {
                let streamed = member == Member::Arguments && character == '{' && self.start(sink);
                let (text, scanner) = (String::new(), JsonScanner::new());
                return self.inside(character, sink, member, text, scanner, streamed);
            }
            CallState::AfterValue if character == ',' => CallState::NextKey,
            CallState::AfterValue if character == '}' => return self.finish(sink),
            _ => return Step::Failed,
        };
        Step::More
    }

    fn inside(
        &mut self,
        character: char,
        sink: &mut Sink,
        member: Member,
        mut text: String,
        mut scanner: JsonScanner,
        streamed: bool,
    ) -> Step {
        let Ok(progress) = scanner.push(character, &mut text) else {
            return Step::Failed;
        };
        if streamed {
            sink.arguments(&text);
            text.clear();
        }
        if progress == Progress::More {
            self.state = CallState::Inside {
                member,
                text,
                scanner,
                streamed,
            };
            return Step::More;
        }
        self.state = CallState::AfterValue;
        if !streamed && !self.set(member, text, sink) {
            return Step::Failed;
        }
        match progress {
            Progress::CompleteBefore => self.step(character, sink),
            _ => Step::More,
        }
    }

    /// Takes in a value that was not streamed. False if it can't be that of a call.
    fn set(&mut self, member: Member, text: String, sink: &Sink) -> bool {
        let string = || serde_json::from_str::<String>(&text).ok();
        match member {
            Member::Type => true,
            Member::Id => {
                self.id = string();
                true
            }
            Member::Name => {
                self.name = string().filter(|name| sink.knows(name));
                self.name.is_some()
            }
            // Some models write the arguments as a string of JSON, as OpenAI's API does.
            Member::Arguments => {
                let arguments = match text.as_str() {
                    "null" => Some("{}".to_owned()),
                    _ if text.starts_with('{') => Some(text),
                    _ => string().filter(|inner| is_object(inner)),
                };
                let is_first = !self.started && self.early_arguments.is_none();
                self.early_arguments = arguments;
                is_first && self.early_arguments.is_some()
            }
        }
    }

    /// Announces the call if it has a name by now.
    fn start(&mut self, sink: &mut Sink) -> bool {
        if self.started || self.early_arguments.is_some() {
            return false;
        }
        let Some(name) = &self.name else {
            return false;
        };
        sink.start(name, self.id.take());
        self.started = true;
        true
    }

    fn finish(&mut self, sink: &mut Sink) -> Step {
        if !self.started {
            let arguments = self.early_arguments.take();
            if !self.start(sink) {
                return Step::Failed;
            }
            sink.arguments(arguments.as_deref().unwrap_or("{}"));
        }
        sink.end();
        Step::Done
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

/// A name, a separator, and the arguments: `name[CALL_ID]id[ARGS]{…}` or `name>{…}`.
pub(super) struct NamedCall {
    /// Functionary's: the name ends with `>`. Otherwise Mistral's.
    bracketed: bool,
    head: String,
    arguments: Option<JsonScanner>,
}

impl NamedCall {
    fn mistral() -> Self {
        Self {
            bracketed: false,
            head: String::new(),
            arguments: None,
        }
    }

    pub(super) fn functionary() -> Self {
        Self {
            bracketed: true,
            ..Self::mistral()
        }
    }

    fn step(&mut self, character: char, sink: &mut Sink) -> Step {
        if self.arguments.is_none() {
            if character != '{' {
                self.head.push(character);
                return if self.head_may_go_on() {
                    Step::More
                } else {
                    Step::Failed
                };
            }
            let Some((name, id)) = self.parse_head() else {
                return Step::Failed;
            };
            if !sink.knows(name) {
                return Step::Failed;
            }
            sink.start(name, id.map(str::to_owned));
        }
        let scanner = self.arguments.get_or_insert_with(JsonScanner::new);
        let mut text = String::new();
        match scanner.push(character, &mut text) {
            Ok(progress) => {
                sink.arguments(&text);
                if progress == Progress::More {
                    return Step::More;
                }
                sink.end();
                Step::Done
            }
            Err(_) => Step::Failed,
        }
    }

    /// The name and the id, once the head is complete.
    fn parse_head(&self) -> Option<(&str, Option<&str>)> {
        let head = self.head.trim();
        let (name, id) = if self.bracketed {
            (head.strip_suffix('>')?, None)
        } else {
            let head = head.strip_suffix("[ARGS]").unwrap_or(head);
            match head.split_once("[CALL_ID]") {
                Some((name, id)) => (name, Some(id.trim())),
                None => (head, None),
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
        if self.bracketed {
            return rest.is_empty() || rest.trim_end() == ">";
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
