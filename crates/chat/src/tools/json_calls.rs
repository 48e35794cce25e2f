//! Calls in JSON, character by character.

use super::call_sink::{BodyStep, CallSink};
use super::json::{JsonProgress, JsonScanner};

/// One call as a JSON object, or several in a list.
pub(super) struct JsonCalls {
    lists_allowed: bool,
    in_list: bool,
    state: JsonListState,
}

enum JsonListState {
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
            state: JsonListState::Start,
        }
    }

    pub(super) fn step(&mut self, character: char, sink: &mut CallSink) -> BodyStep {
        if let JsonListState::Object(call) = &mut self.state {
            return match call.step(character, sink) {
                BodyStep::Done if self.in_list => {
                    self.state = JsonListState::Next;
                    BodyStep::More
                }
                step => step,
            };
        }
        self.state = match (&self.state, character) {
            _ if character.is_whitespace() => return BodyStep::More,
            (JsonListState::Start | JsonListState::Item, '{') => {
                JsonListState::Object(Box::default())
            }
            (JsonListState::Start, '[') if self.lists_allowed && !self.in_list => {
                self.in_list = true;
                JsonListState::Item
            }
            (JsonListState::Next, ',') => JsonListState::Item,
            (JsonListState::Next, ']') => return BodyStep::Done,
            _ => return BodyStep::Failed,
        };
        BodyStep::More
    }
}

/// `{"name": …, "arguments": {…}}`, in any order of the keys; after its opening brace.
#[derive(Default)]
struct JsonCall {
    state: JsonCallState,
    name: Option<String>,
    id: Option<String>,
    /// Arguments that came before the name.
    early_arguments: Option<String>,
    started: bool,
    /// Whether there are members that mean nothing here.
    has_others: bool,
}

#[derive(Default)]
enum JsonCallState {
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
    /// `"type": "function"`, and whatever models add of their own: it is passed over.
    Other,
}

impl Member {
    fn of_key(key: &str) -> Option<Self> {
        Some(match key {
            "name" => Self::Name,
            "arguments" | "parameters" => Self::Arguments,
            "id" => Self::Id,
            "type" => Self::Other,
            _ => return None,
        })
    }
}

/// Longest key that is passed over, in bytes.
const MAX_KEY: usize = 256;

/// Whether the next character of a string is escaped.
fn ends_in_escape(text: &str) -> bool {
    let backslashes = text.len() - text.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

impl JsonCall {
    /// Whether members that mean nothing here are passed over. An answer that may be JSON of another kind is
    /// shown as soon as it is not certain to be a call.
    fn passes_over(&self, sink: &CallSink) -> bool {
        sink.expects_calls() || self.name.is_some()
    }

    /// What a key is for; `None` if the object is no call.
    fn member(&mut self, key: &str, sink: &CallSink) -> Option<Member> {
        let has_arguments = self.started || self.early_arguments.is_some();
        match Member::of_key(key) {
            // The first hold.
            Some(Member::Arguments) if has_arguments => Some(Member::Other),
            Some(member) => Some(member),
            None if self.passes_over(sink) => {
                self.has_others = true;
                Some(Member::Other)
            }
            None => None,
        }
    }

    fn step(&mut self, character: char, sink: &mut CallSink) -> BodyStep {
        let is_blank = character.is_ascii_whitespace();
        self.state = match std::mem::take(&mut self.state) {
            JsonCallState::Key(key) if character == '"' && !ends_in_escape(&key) => {
                match self.member(&key, sink) {
                    Some(member) => JsonCallState::Colon(member),
                    None => return BodyStep::Failed,
                }
            }
            JsonCallState::Key(mut key) => {
                key.push(character);
                let most = match self.passes_over(sink) {
                    true => MAX_KEY,
                    // No key that matters is longer.
                    false => "parameters".len(),
                };
                if key.len() > most {
                    return BodyStep::Failed;
                }
                JsonCallState::Key(key)
            }
            JsonCallState::Inside {
                member,
                text,
                scanner,
                streamed,
            } => return self.inside(character, sink, member, text, scanner, streamed),
            state if is_blank => state,
            JsonCallState::FirstKey | JsonCallState::NextKey if character == '"' => {
                JsonCallState::Key(String::new())
            }
            JsonCallState::Colon(member) if character == ':' => JsonCallState::Value(member),
            JsonCallState::Value(member) => {
                let streamed = member == Member::Arguments && character == '{' && self.start(sink);
                let (text, scanner) = (String::new(), JsonScanner::new());
                return self.inside(character, sink, member, text, scanner, streamed);
            }
            JsonCallState::AfterValue if character == ',' => JsonCallState::NextKey,
            JsonCallState::AfterValue if character == '}' => return self.finish(sink),
            _ => return BodyStep::Failed,
        };
        BodyStep::More
    }

    fn inside(
        &mut self,
        character: char,
        sink: &mut CallSink,
        member: Member,
        mut text: String,
        mut scanner: JsonScanner,
        streamed: bool,
    ) -> BodyStep {
        let Ok(progress) = scanner.push(character, &mut text) else {
            return BodyStep::Failed;
        };
        if streamed {
            sink.arguments(&text);
            text.clear();
        }
        if progress == JsonProgress::More {
            self.state = JsonCallState::Inside {
                member,
                text,
                scanner,
                streamed,
            };
            return BodyStep::More;
        }
        self.state = JsonCallState::AfterValue;
        if !streamed && !self.set(member, text, sink) {
            return BodyStep::Failed;
        }
        match progress {
            JsonProgress::CompleteBefore => self.step(character, sink),
            _ => BodyStep::More,
        }
    }

    /// Takes in a value that was not streamed. False if it can't be that of a call.
    fn set(&mut self, member: Member, text: String, sink: &CallSink) -> bool {
        let string = || serde_json::from_str::<String>(&text).ok();
        match member {
            Member::Other => true,
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
    fn start(&mut self, sink: &mut CallSink) -> bool {
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

    fn finish(&mut self, sink: &mut CallSink) -> BodyStep {
        if !self.started {
            let arguments = self.early_arguments.take();
            // What has no arguments but something else may be anything.
            if arguments.is_none() && self.has_others || !self.start(sink) {
                return BodyStep::Failed;
            }
            sink.arguments(arguments.as_deref().unwrap_or("{}"));
        }
        sink.end();
        BodyStep::Done
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
