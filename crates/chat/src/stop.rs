//! Stop strings in a stream of text.
//!
//! A stop string is never emitted, not even its beginning: any tail of the text that could still
//! grow into one is held back until it does, cannot any more, or the stream ends.
//!
//! ```text
//! stop = "\nUser:"      pushed: "Hi.\nU"     "se"        "less"
//!                       emitted: "Hi."       ""          "\nUseless"
//! ```
//!
//! One Knuth–Morris–Pratt automaton per stop string reads the text byte by byte, so the cost of a
//! push is linear in its length whatever the strings are, and the outcome does not depend on how
//! the text was cut into pushes. The state of an automaton is the length of the longest tail that
//! is a beginning of its string: the largest of them is exactly what has to be held back.

use std::sync::Arc;

/// Watches a stream of text for stop strings.
///
/// The string that is complete first wins; of several that end at the same byte, the longest.
#[derive(Debug, Clone)]
pub struct StopStrings {
    automata: Vec<Automaton>,
    held: String,
    stopped: bool,
}

/// What a [`StopStrings::push`] lets through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopResult {
    /// Text that is certain not to belong to a stop string.
    pub text: String,
    /// The stop string that ended the stream. Nothing is emitted after it.
    pub stopped: Option<String>,
}

impl StopStrings {
    /// Watches for any of `stops`. Empty strings are ignored: they would stop before the start.
    pub fn new<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> Self {
        let automata = stops
            .into_iter()
            .filter(|stop| !stop.as_ref().is_empty())
            .map(|stop| Automaton::new(stop.as_ref()))
            .collect();
        Self {
            automata,
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes the next piece of text and returns what may be shown.
    pub fn push(&mut self, text: &str) -> StopResult {
        if self.stopped {
            return StopResult::default();
        }
        for (index, byte) in text.bytes().enumerate() {
            if let Some(stop) = self.advance(byte) {
                self.stopped = true;
                let mut emitted = std::mem::take(&mut self.held);
                emitted.push_str(&text[..=index]);
                emitted.truncate(emitted.len() - stop.len());
                return StopResult {
                    text: emitted,
                    stopped: Some(stop),
                };
            }
        }
        self.held.push_str(text);
        let could_stop = self.automata.iter().map(|a| a.matched).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - could_stop);
        StopResult {
            text: std::mem::replace(&mut self.held, held),
            stopped: None,
        }
    }

    /// Ends the stream: what was held back did not become a stop string, and is returned.
    pub fn finish(&mut self) -> String {
        self.automata.iter_mut().for_each(|a| a.matched = 0);
        std::mem::take(&mut self.held)
    }

    /// Feeds one byte to every automaton; the longest string that it completes, if any.
    fn advance(&mut self, byte: u8) -> Option<String> {
        let mut completed: Option<&str> = None;
        for automaton in &mut self.automata {
            if automaton.advance(byte)
                && completed.is_none_or(|other| automaton.pattern.len() > other.len())
            {
                completed = Some(&automaton.pattern);
            }
        }
        completed.map(str::to_owned)
    }
}

/// Knuth–Morris–Pratt matcher of one string.
#[derive(Debug, Clone)]
struct Automaton {
    pattern: Arc<str>,
    /// `failure[i]`: length of the longest proper prefix of the pattern that ends its first
    /// `i + 1` bytes.
    failure: Arc<[usize]>,
    /// Length of the longest tail of the text that begins the pattern.
    matched: usize,
}

impl Automaton {
    fn new(pattern: &str) -> Self {
        let bytes = pattern.as_bytes();
        let mut failure = vec![0; bytes.len()];
        let mut length = 0;
        for index in 1..bytes.len() {
            while length > 0 && bytes[index] != bytes[length] {
                length = failure[length - 1];
            }
            if bytes[index] == bytes[length] {
                length += 1;
            }
            failure[index] = length;
        }
        Self {
            pattern: pattern.into(),
            failure: failure.into(),
            matched: 0,
        }
    }

    /// True when `byte` completes the pattern.
    fn advance(&mut self, byte: u8) -> bool {
        let pattern = self.pattern.as_bytes();
        while self.matched > 0 && pattern[self.matched] != byte {
            self.matched = self.failure[self.matched - 1];
        }
        if pattern[self.matched] == byte {
            self.matched += 1;
        }
        let complete = self.matched == pattern.len();
        if complete {
            self.matched = self.failure[self.matched - 1];
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs `pieces` through a watcher: everything emitted, and the string that stopped it.
    fn run<S: AsRef<str>>(stops: &[&str], pieces: &[S]) -> (String, Option<String>) {
        let mut watcher = StopStrings::new(stops);
        let mut shown = String::new();
        for piece in pieces {
            let result = watcher.push(piece.as_ref());
            shown.push_str(&result.text);
            if result.stopped.is_some() {
                return (shown, result.stopped);
            }
        }
        shown.push_str(&watcher.finish());
        (shown, None)
    }

    /// The same, by looking at every beginning of the whole text.
    fn naive(stops: &[&str], text: &str) -> (String, Option<String>) {
        for (index, character) in text.char_indices() {
            let seen = &text[..index + character.len_utf8()];
            let longest = stops
                .iter()
                .filter(|stop| !stop.is_empty() && seen.ends_with(**stop))
                .max_by_key(|stop| stop.len());
            if let Some(stop) = longest {
                let shown = seen[..seen.len() - stop.len()].to_owned();
                return (shown, Some((*stop).to_owned()));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn a_stop_string_split_over_pushes_is_never_shown() {
        let mut watcher = StopStrings::new(["\nUser:"]);
        assert_eq!(watcher.push("Hi.\nU").text, "Hi.");
        assert_eq!(watcher.push("ser").text, "");
        let last = watcher.push(": more");
        assert_eq!(last.text, "");
        assert_eq!(last.stopped.as_deref(), Some("\nUser:"));
        assert_eq!(watcher.push("after").text, "");
        assert_eq!(watcher.finish(), "");
    }

    #[test]
    fn what_only_looked_like_a_stop_string_is_shown() {
        let mut watcher = StopStrings::new(["\nUser:"]);
        watcher.push("Hi.\nUse");
        assert_eq!(watcher.push("less").text, "\nUseless");
        watcher.push("\nUser");
        assert_eq!(watcher.finish(), "\nUser");
    }

    #[test]
    fn the_string_that_is_complete_first_wins_and_of_equals_the_longest() {
        assert_eq!(
            run(&["abcd", "bc"], &["xabcd"]),
            ("xa".into(), Some("bc".into()))
        );
        assert_eq!(
            run(&["c", "abc"], &["xabc"]),
            ("x".into(), Some("abc".into()))
        );
    }

    #[test]
    fn empty_stop_strings_stop_nothing() {
        assert_eq!(run(&[""], &["text"]), ("text".into(), None));
    }

    #[test]
    fn only_what_could_begin_a_stop_string_is_held_back() {
        let mut watcher = StopStrings::new(["aab"]);
        assert_eq!(watcher.push("aaa").text, "a");
        assert_eq!(watcher.push("é").text, "aaé");
    }

    proptest! {
        #[test]
        fn any_split_of_a_text_gives_what_the_whole_text_gives(
            pieces in prop::collection::vec("[abé🦀]{0,4}", 0..12),
            stops in prop::collection::vec("[abé🦀]{0,4}", 0..4),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &pieces), naive(&stops, &pieces.concat()));
        }

        #[test]
        fn what_is_shown_early_is_final(
            pieces in prop::collection::vec("[ab]{0,3}", 0..10),
            stops in prop::collection::vec("[ab]{1,4}", 1..4),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut watcher = StopStrings::new(&stops);
            let mut shown = String::new();
            let mut pushed = String::new();
            for piece in &pieces {
                pushed.push_str(piece);
                let result = watcher.push(piece);
                shown.push_str(&result.text);
                let (expected, stopped) = naive(&stops, &pushed);
                prop_assert!(expected.starts_with(&shown));
                prop_assert_eq!(&result.stopped, &stopped);
                if stopped.is_some() {
                    prop_assert_eq!(&shown, &expected);
                    break;
                }
            }
        }
    }
}
