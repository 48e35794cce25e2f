//! Calls in the syntax of Python: `[get_weather(city="Paris", days=3), now()]`.

use serde_json::{Map, Number, Value};

use super::call_sink::{BodyStep, CallSink};
use super::json_calls::JsonCalls;

/// A list of calls, from its `[` on. Each call is announced when its parenthesis closes: literals
/// of Python have to be read whole to become JSON.
pub(super) struct PythonicCalls {
    state: PythonicState,
}

enum PythonicState {
    Start,
    /// After `[` or a comma.
    Call {
        first: bool,
    },
    Inside(CallText),
    Next,
    /// The list turned out to be JSON.
    Json(JsonCalls),
}

/// The text of one call, and whether it is complete.
#[derive(Default)]
struct CallText {
    text: String,
    depth: usize,
    quote: Option<char>,
    escaped: bool,
}

impl PythonicCalls {
    pub(super) fn new() -> Self {
        Self {
            state: PythonicState::Start,
        }
    }

    pub(super) fn step(&mut self, character: char, sink: &mut CallSink) -> BodyStep {
        match &mut self.state {
            PythonicState::Json(calls) => return calls.step(character, sink),
            PythonicState::Inside(call) => {
                if !call.push(character) {
                    return BodyStep::Failed;
                }
                if call.depth > 0 || character != ')' {
                    return BodyStep::More;
                }
                let Some((name, arguments)) = parse_call(&call.text) else {
                    return BodyStep::Failed;
                };
                if !sink.knows(name) {
                    return BodyStep::Failed;
                }
                sink.start(name, None);
                sink.arguments(&Value::Object(arguments).to_string());
                sink.end();
                self.state = PythonicState::Next;
                return BodyStep::More;
            }
            _ if character.is_whitespace() => return BodyStep::More,
            _ => {}
        }
        self.state = match (&self.state, character) {
            (PythonicState::Start, '[') => PythonicState::Call { first: true },
            (PythonicState::Call { first: true }, '{') => {
                let mut calls = JsonCalls::new(true);
                let _ = calls.step('[', sink);
                let step = calls.step('{', sink);
                self.state = PythonicState::Json(calls);
                return step;
            }
            (PythonicState::Call { .. }, first) if is_identifier_start(first) => {
                let mut call = CallText::default();
                call.push(first);
                PythonicState::Inside(call)
            }
            (PythonicState::Next, ',') => PythonicState::Call { first: false },
            (PythonicState::Next, ']') => return BodyStep::Done,
            _ => return BodyStep::Failed,
        };
        BodyStep::More
    }
}

impl CallText {
    /// False if the text can't be a call: anything but a name before the parenthesis.
    fn push(&mut self, character: char) -> bool {
        self.text.push(character);
        match self.quote {
            Some(_) if self.escaped => self.escaped = false,
            Some(_) if character == '\\' => self.escaped = true,
            Some(quote) if character == quote => self.quote = None,
            Some(_) => {}
            None => match character {
                '(' | '[' | '{' => self.depth += 1,
                ')' | ']' | '}' if self.depth == 0 => return false,
                ')' | ']' | '}' => self.depth -= 1,
                '"' | '\'' => self.quote = Some(character),
                _ => {}
            },
        }
        self.depth > 0 || character == ')' || is_identifier(character) || character == '.'
    }
}

fn is_identifier_start(character: char) -> bool {
    character.is_alphabetic() || character == '_'
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// `name(key=literal, …)`.
fn parse_call(text: &str) -> Option<(&str, Map<String, Value>)> {
    let (name, rest) = text.split_once('(')?;
    let mut reader = Reader {
        rest: rest.trim_start(),
        depth: 0,
    };
    let mut arguments = Map::new();
    while !reader.eat(')') {
        let key_end = reader.rest.find(|c| !is_identifier(c))?;
        let (key, rest) = reader.rest.split_at(key_end);
        reader.rest = rest.trim_start();
        if key.is_empty() || !reader.eat('=') {
            return None;
        }
        arguments.insert(key.to_owned(), reader.literal()?);
        if !reader.eat(',') && !reader.rest.starts_with(')') {
            return None;
        }
    }
    reader.rest.is_empty().then_some((name, arguments))
}

/// Reads literals of Python, and JSON's `true`, `false` and `null`, which models mix in.
struct Reader<'a> {
    /// Without blanks in front.
    rest: &'a str,
    depth: usize,
}

/// Deeper literals are refused: the reader recurses.
const MAX_DEPTH: usize = 64;

impl Reader<'_> {
    fn eat(&mut self, character: char) -> bool {
        let rest = self.rest.strip_prefix(character);
        if let Some(rest) = rest {
            self.rest = rest.trim_start();
        }
        rest.is_some()
    }

    fn literal(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match self.rest.chars().next()? {
            quote @ ('"' | '\'') => Value::String(self.string(quote)?),
            '[' => Value::Array(self.list(']')?),
            '(' => Value::Array(self.list(')')?),
            '{' => Value::Object(self.dictionary()?),
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(value)
    }

    fn list(&mut self, end: char) -> Option<Vec<Value>> {
        self.rest = self.rest[1..].trim_start();
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.literal()?);
            if !self.eat(',') && !self.rest.starts_with(end) {
                return None;
            }
        }
        Some(items)
    }

    fn dictionary(&mut self) -> Option<Map<String, Value>> {
        self.rest = self.rest[1..].trim_start();
        let mut members = Map::new();
        while !self.eat('}') {
            let quote = self.rest.chars().next()?;
            let key = matches!(quote, '"' | '\'').then(|| self.string(quote))??;
            if !self.eat(':') {
                return None;
            }
            members.insert(key, self.literal()?);
            if !self.eat(',') && !self.rest.starts_with('}') {
                return None;
            }
        }
        Some(members)
    }

    /// A number or a constant.
    fn word(&mut self) -> Option<Value> {
        let in_word = |c: char| is_identifier(c) || matches!(c, '+' | '-' | '.');
        let end = self.rest.find(|c| !in_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Some(match word {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            "None" | "null" => Value::Null,
            _ => Value::Number(match word.parse::<i64>() {
                Ok(integer) => Number::from(integer),
                Err(_)
                    if word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') =>
                {
                    Number::from_f64(word.parse().ok()?)?
                }
                Err(_) => return None,
            }),
        })
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next()? {
                end if end == quote => break,
                '\\' => text.push(escape(&mut chars)?),
                character => text.push(character),
            }
        }
        self.rest = chars.as_str().trim_start();
        Some(text)
    }
}

/// What an escape stands for, after its backslash. JSON writes what is beyond 16 bits as two
/// surrogates.
fn escape(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let hex = |chars: &mut std::str::Chars<'_>, digits: usize| {
        let code: String = chars.take(digits).collect();
        u32::from_str_radix(&code, 16).ok()
    };
    Some(match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\x08',
        'f' => '\x0C',
        'x' => char::from_u32(hex(chars, 2)?)?,
        'U' => char::from_u32(hex(chars, 8)?)?,
        'u' => match hex(chars, 4)? {
            high @ 0xD800..=0xDBFF => {
                if chars.next()? != '\\' || chars.next()? != 'u' {
                    return None;
                }
                let low = hex(chars, 4)?
                    .checked_sub(0xDC00)
                    .filter(|low| *low < 0x400)?;
                char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + low)?
            }
            code => char::from_u32(code)?,
        },
        other @ ('\\' | '"' | '\'' | '/') => other,
        _ => return None,
    })
}
