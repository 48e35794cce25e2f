//! Replaces macros in a text, in one pass and in linear time.
//!
//! What is written goes to one buffer. `{{` notes where it stands, `}}` takes the macro that began
//! last and puts its value in its place: so inner macros are values when an outer one is looked
//! at. A value is not looked at again, except that fields (`{{description}}`) are expanded on their
//! own first. What is no macro stays as it is written.

use crate::limits::{MAX_FIELD_NESTING, MAX_MACRO_NESTING};

use super::values::{Field, Values};

/// Longest name of a macro: a longer one is none, and need not be looked at.
const MAX_NAME_BYTES: usize = 24;

/// Macros without meaning that are told of one text, and characters of each.
const MAX_UNKNOWN: usize = 32;
const MAX_UNKNOWN_CHARS: usize = 60;

/// A text in which macros are replaced.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// What `{{hidden_key:…}}` says, a line each: only the book sees it.
    pub(crate) hidden: String,
    /// Macros without meaning, as they are written.
    pub(crate) unknown: Vec<String>,
    /// Fields that the text contains.
    pub(crate) fields: Vec<Field>,
}

/// Expands a text of the card. `place` names it: choices depend on it. `original` is what
/// `{{original}}` stands for.
pub(crate) fn expand(text: &str, place: &str, original: &str, values: &Values<'_>) -> Expanded {
    nested(text, place, original, values, 0)
}

/// As `expand`, for the text alone.
pub(crate) fn expanded(text: &str, place: &str, values: &Values<'_>) -> String {
    expand(text, place, "", values).text
}

fn nested(
    text: &str,
    place: &str,
    original: &str,
    values: &Values<'_>,
    nesting: usize,
) -> Expanded {
    let mut expander = Expander {
        place,
        original,
        values,
        nesting,
        open: Vec::new(),
        ignored: 0,
        choices: 0,
        trims: false,
        done: Expanded::default(),
    };
    expander.run(text);
    expander.done
}

struct Expander<'a> {
    place: &'a str,
    original: &'a str,
    values: &'a Values<'a>,
    nesting: usize,
    /// Where in the output each macro begins that is not closed yet.
    open: Vec<usize>,
    /// Macros inside those, which are too deep to be any.
    ignored: usize,
    /// Choices made so far: each is its own.
    choices: usize,
    /// A `{{trim}}` takes the line breaks that follow.
    trims: bool,
    done: Expanded,
}

impl<'a> Expander<'a> {
    fn run(&mut self, text: &str) {
        let mut rest = text;
        loop {
            if self.trims {
                rest = rest.trim_start_matches(['\n', '\r']);
                self.trims = false;
            }
            let plain = rest.find(['{', '}', '<', '\r']).unwrap_or(rest.len());
            self.done.text.push_str(&rest[..plain]);
            rest = &rest[plain..];
            if rest.is_empty() {
                return;
            }
            rest = &rest[self.step(rest)..];
        }
    }

    /// Handles what `rest` begins with, and returns how many bytes that is.
    fn step(&mut self, rest: &str) -> usize {
        if rest.starts_with("{{") {
            return self.open_all(rest);
        }
        if rest.starts_with("}}") {
            self.close();
            return 2;
        }
        if let Some((value, length)) = self.tag(rest) {
            if self.values.allowance.spend(value.len() + 1) {
                self.done.text.push_str(value);
            }
            return length;
        }
        // Lines of the prompt end alike, whatever machine the card is from.
        match rest.starts_with("\r\n") {
            true => {}
            false => self.done.text.push_str(&rest[..1]),
        }
        1
    }

    /// Begins the macros of a row of braces. Of an odd row the last ones begin them.
    fn open_all(&mut self, rest: &str) -> usize {
        let row = rest.bytes().take_while(|&byte| byte == b'{').count();
        self.done.text.push_str(&rest[..row % 2]);
        for _ in 0..row / 2 {
            if self.open.len() < MAX_MACRO_NESTING {
                self.open.push(self.done.text.len());
            } else {
                self.ignored += 1;
            }
            self.done.text.push_str("{{");
        }
        row
    }

    /// The value and length of `<USER>`, `<BOT>` or `<CHAR>` at the beginning.
    fn tag(&self, rest: &str) -> Option<(&'a str, usize)> {
        let values = self.values;
        let tags = [
            ("<user>", values.user),
            ("<bot>", values.char_name),
            ("<char>", values.char_name),
        ];
        tags.into_iter().find_map(|(tag, value)| {
            let begins = rest.get(..tag.len())?.eq_ignore_ascii_case(tag);
            begins.then_some((value, tag.len()))
        })
    }

    /// Ends the macro that began last.
    fn close(&mut self) {
        let start = match self.ignored {
            0 => self.open.pop(),
            _ => {
                self.ignored -= 1;
                None
            }
        };
        let Some(start) = start else {
            self.done.text.push_str("}}");
            return;
        };
        let inner = self.done.text[start + 2..].to_owned();
        match self.value(&inner) {
            Some(value) => {
                self.done.text.truncate(start);
                if self.trims {
                    let kept = self.done.text.trim_end_matches(['\n', '\r']).len();
                    let least = self.open.last().map_or(0, |open| open + 2);
                    self.done.text.truncate(kept.max(least));
                }
                if self.values.allowance.spend(value.len() + 1) {
                    self.done.text.push_str(&value);
                }
            }
            None => {
                self.done.text.push_str("}}");
                self.note_unknown(&inner);
            }
        }
    }

    fn note_unknown(&mut self, inner: &str) {
        if self.done.unknown.len() == MAX_UNKNOWN {
            return;
        }
        let mut shown: String = inner.chars().take(MAX_UNKNOWN_CHARS).collect();
        if shown.len() < inner.len() {
            shown.push('…');
        }
        let shown = format!("{{{{{shown}}}}}");
        if !self.done.unknown.contains(&shown) {
            self.done.unknown.push(shown);
        }
    }

    /// What a macro stands for; `None` if it is none.
    fn value(&mut self, inner: &str) -> Option<String> {
        if inner.trim_start().starts_with("//") {
            return Some(String::new());
        }
        let (name, argument) = match inner.split_once(':') {
            Some((name, rest)) => (name, Some(rest.strip_prefix(':').unwrap_or(rest))),
            None => (inner, None),
        };
        let name = name.trim();
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let name = name.to_ascii_lowercase();
        match argument {
            Some(argument) => self.function(&name, argument),
            None => self.variable(&name),
        }
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        let values = self.values;
        let dated = |format: &str| {
            values
                .now
                .map_or(String::new(), |now| now.format(format).to_string())
        };
        Some(match name {
            "char" => values.char_name.to_owned(),
            "user" => values.user.to_owned(),
            "original" => self.original.to_owned(),
            "description" => self.field(Field::Description),
            "personality" => self.field(Field::Personality),
            "scenario" => self.field(Field::Scenario),
            "persona" | "noop" => String::new(),
            "newline" => "\n".to_owned(),
            "trim" => {
                self.trims = true;
                String::new()
            }
            "date" => dated("%B %-d, %Y"),
            "time" => dated("%-I:%M %p"),
            "weekday" => dated("%A"),
            "isodate" => dated("%Y-%m-%d"),
            "isotime" => dated("%H:%M"),
            "lastmessage" => values.last_message.to_owned(),
            "lastusermessage" => values.last_user_message.to_owned(),
            "lastcharmessage" => values.last_char_message.to_owned(),
            _ => return None,
        })
    }

    fn function(&mut self, name: &str, argument: &str) -> Option<String> {
        match name {
            "comment" => Some(String::new()),
            "hidden_key" => {
                self.done.hidden.push_str(argument.trim());
                self.done.hidden.push('\n');
                Some(String::new())
            }
            "reverse" => Some(argument.chars().rev().collect()),
            "random" | "pick" => {
                let options = options(argument);
                let chosen = self.choose(options.len() as u64) as usize;
                options.into_iter().nth(chosen)
            }
            "roll" => {
                let sides = argument.trim().trim_start_matches(['d', 'D']);
                let sides: u32 = sides.parse().ok().filter(|&sides| sides > 0)?;
                Some((self.choose(u64::from(sides)) + 1).to_string())
            }
            _ => None,
        }
    }

    fn choose(&mut self, below: u64) -> u64 {
        self.choices += 1;
        self.values.seed.choose(self.place, self.choices, below)
    }

    fn field(&mut self, field: Field) -> String {
        if !self.done.fields.contains(&field) {
            self.done.fields.push(field);
        }
        let text = self.values.field(field);
        if self.values.is_dry
            || self.nesting >= MAX_FIELD_NESTING
            || !self.values.allowance.spend(text.len())
        {
            return String::new();
        }
        let inner = nested(text, field.name(), "", self.values, self.nesting + 1);
        self.done.hidden.push_str(&inner.hidden);
        inner.text.trim().to_owned()
    }
}

/// The options of a choice: between `::` if there is one, else between commas, of which `\,` is none.
fn options(argument: &str) -> Vec<String> {
    if argument.contains("::") {
        return argument.split("::").map(str::to_owned).collect();
    }
    let mut options = vec![String::new()];
    let mut characters = argument.chars().peekable();
    while let Some(character) = characters.next() {
        let literal = match character {
            ',' => {
                options.push(String::new());
                continue;
            }
            '\\' => characters.next_if_eq(&',').unwrap_or('\\'),
            other => other,
        };
        if let Some(last) = options.last_mut() {
            last.push(literal);
        }
    }
    options
        .iter()
        .map(|option| option.trim().to_owned())
        .collect()
}
