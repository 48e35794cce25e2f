//! Decorators of book entries: lines `@@name value` at the beginning of an entry's text, and
//! `@@@name value` that stand in for the one before them where that is not known.
//!
//! | honoured | |
//! | --- | --- |
//! | `@@depth N`, `@@role R` | the entry stands N messages from the end, as R |
//! | `@@position P` | beside a part of the character: `before_desc`, `after_desc`, `personality`, `scenario`; ours: `before_examples`, `after_examples` |
//! | `@@scan_depth N` | how many of the last messages are looked through |
//! | `@@activate`, `@@dont_activate` | always, never |
//! | `@@additional_keys A,B`, `@@exclude_keys A,B` | one must occur, none may |
//! | `@@activate_only_after N`, `@@activate_only_every N` | by the number of the character's messages |
//! | `@@is_greeting N` | only in conversations that began with this greeting |
//!
//! Of several with one name the first counts. What is not known, or has a value that it cannot
//! have, is left out of the prompt all the same.

use crate::limits::MAX_FALLBACKS;

/// Who says an entry that stands among the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

/// A part of the character that an entry stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    BeforeDescription,
    AfterDescription,
    Personality,
    Scenario,
    BeforeExamples,
    AfterExamples,
}

impl Beside {
    const ALL: [(Self, &'static str); 6] = [
        (Self::BeforeDescription, "before_desc"),
        (Self::AfterDescription, "after_desc"),
        (Self::Personality, "personality"),
        (Self::Scenario, "scenario"),
        (Self::BeforeExamples, "before_examples"),
        (Self::AfterExamples, "after_examples"),
    ];

    /// What the decorator says.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(beside, _)| *beside == self);
        found.map_or("", |(_, name)| name)
    }
}

/// What an entry's decorators say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Decorators {
    pub(crate) depth: Option<usize>,
    pub(crate) role: Option<Role>,
    pub(crate) position: Option<Beside>,
    pub(crate) scan_depth: Option<usize>,
    pub(crate) activates: bool,
    pub(crate) never_activates: bool,
    pub(crate) additional_keys: Vec<String>,
    pub(crate) exclude_keys: Vec<String>,
    pub(crate) only_after: Option<usize>,
    pub(crate) only_every: Option<usize>,
    pub(crate) greeting: Option<usize>,
    /// Those without effect, as they are written.
    pub(crate) unknown: Vec<String>,
}

/// An entry's decorators and the text after them.
pub(crate) fn split(content: &str) -> (Decorators, &str) {
    let mut decorators = Decorators::default();
    let mut seen: Vec<&str> = Vec::new();
    // Whether the last `@@` is settled, and how often another stood in for it.
    let (mut is_settled, mut fallbacks) = (true, 0);
    let mut rest = content.trim_start();
    while let Some(line) = rest.lines().next().filter(|line| line.starts_with("@@")) {
        let is_fallback = line.starts_with("@@@");
        let (name, value) = parts(line);
        fallbacks = if is_fallback { fallbacks + 1 } else { 0 };
        let counts = match is_fallback {
            true => !is_settled && fallbacks <= MAX_FALLBACKS,
            false => true,
        };
        if counts {
            is_settled = seen.contains(&name) || decorators.take(name, value).is_some();
            if !is_settled {
                decorators.unknown.push(line.trim().to_owned());
            } else if !seen.contains(&name) {
                seen.push(name);
            }
        }
        rest = rest[line.len()..].trim_start();
    }
    (decorators, rest)
}

/// Name and value of a line.
fn parts(line: &str) -> (&str, &str) {
    let line = line.trim_start_matches('@').trim();
    let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (name, value.trim())
}

impl Decorators {
    /// Takes a decorator in; `None` where it is not known or cannot have this value.
    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        // A negative depth stands after the last message, as 0 does.
        let number = || {
            value
                .parse::<i64>()
                .ok()
                .map(|number| number.max(0) as usize)
        };
        match name {
            "depth" => self.depth = Some(number()?),
            "scan_depth" => self.scan_depth = Some(number()?),
            "activate_only_after" => self.only_after = Some(number()?),
            "activate_only_every" => self.only_every = Some(number().filter(|&every| every > 0)?),
            "is_greeting" => self.greeting = Some(number()?),
            "activate" => self.activates = true,
            "dont_activate" => self.never_activates = true,
            "additional_keys" => self.additional_keys = keys(value)?,
            "exclude_keys" => self.exclude_keys = keys(value)?,
            "role" => {
                self.role = Some(match value {
                    "system" => Role::System,
                    "user" => Role::User,
                    "assistant" => Role::Assistant,
                    _ => return None,
                });
            }
            "position" => {
                let found = Beside::ALL.iter().find(|(_, name)| *name == value);
                self.position = Some(found?.0);
            }
            _ => return None,
        }
        Some(())
    }
}

fn keys(value: &str) -> Option<Vec<String>> {
    let keys = value
        .split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decorators_are_read_and_cut_off() {
        let (read, text) = split(
            "@@depth 2\n@@role user\r\n@@exclude_keys a, b\n@@activate\n\nThe text.\n@@depth 9",
        );
        let expected = Decorators {
            depth: Some(2),
            role: Some(Role::User),
            exclude_keys: vec!["a".into(), "b".into()],
            activates: true,
            ..Decorators::default()
        };
        assert_eq!((read, text), (expected, "The text.\n@@depth 9"));
    }

    #[test]
    fn a_fallback_counts_only_where_what_it_stands_in_for_does_not() {
        let (read, text) = split(
            "@@odd 1\n@@@odder 2\n@@@depth 3\n@@@depth 4\n@@scan_depth 5\n@@@scan_depth 6\nText",
        );
        assert_eq!(
            (read.depth, read.scan_depth, text),
            (Some(3), Some(5), "Text")
        );
        assert_eq!(read.unknown, ["@@odd 1", "@@@odder 2"]);
    }

    #[test]
    fn the_first_of_a_name_counts_and_a_wrong_value_none() {
        let (read, _) = split("@@depth x\n@@depth 1\n@@depth 2\n@@depth -3");
        assert_eq!(read.depth, Some(1));
        assert_eq!(read.unknown, ["@@depth x"]);
        assert_eq!(split("@@activate_only_every 0").0.only_every, None);
        assert_eq!(split("@@depth -3").0.depth, Some(0));
    }

    #[test]
    fn text_without_decorators_stays() {
        assert_eq!(
            split("An @@depth 3"),
            (Decorators::default(), "An @@depth 3")
        );
        assert_eq!(
            split("@@"),
            (
                Decorators {
                    unknown: vec!["@@".into()],
                    ..Decorators::default()
                },
                ""
            )
        );
    }
}
