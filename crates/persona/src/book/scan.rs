//! Looks for all keys of a book at once: one automaton for the plain ones, however many they are.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::Regex;

use crate::limits::{MAX_KEY_BYTES, MAX_REGEXES, MAX_SCANNED_BYTES, MAX_SCANNED_IN_ALL};

use super::key::Pattern;

/// A pattern of a [`Scanner`].
pub(crate) type PatternId = usize;

/// All patterns of a book.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    exact: Plain,
    lower: Plain,
    regexes: Vec<(Regex, PatternId)>,
    count: usize,
}

/// Plain patterns.
#[derive(Debug, Default)]
struct Plain {
    automaton: Option<AhoCorasick>,
    ids: Vec<PatternId>,
}

/// Gathers patterns, each once.
#[derive(Debug, Default)]
pub(crate) struct ScannerBuilder {
    known: HashMap<Pattern, Result<PatternId, String>>,
    exact: (Vec<String>, Vec<PatternId>),
    lower: (Vec<String>, Vec<PatternId>),
    regexes: Vec<(Regex, PatternId)>,
    /// Regular expressions that were compiled or could not be.
    tried: usize,
    count: usize,
}

impl ScannerBuilder {
    /// Adds a pattern; else says why it cannot be used.
    pub(crate) fn add(&mut self, pattern: Pattern) -> Result<PatternId, String> {
        if let Some(known) = self.known.get(&pattern) {
            return known.clone();
        }
        let id = self.count;
        let added = match &pattern {
            Pattern::Exact(text) | Pattern::Lower(text) if text.len() > MAX_KEY_BYTES => {
                Err(format!(
                    "has {} bytes, more than the {MAX_KEY_BYTES} of a key",
                    text.len()
                ))
            }
            Pattern::Exact(text) => {
                self.exact.0.push(text.clone());
                self.exact.1.push(id);
                Ok(id)
            }
            Pattern::Lower(text) => {
                self.lower.0.push(text.clone());
                self.lower.1.push(id);
                Ok(id)
            }
            Pattern::Regex(_) if self.tried == MAX_REGEXES => {
                Err(format!("is beyond the {MAX_REGEXES} that a book may have"))
            }
            Pattern::Regex(key) => {
                self.tried += 1;
                key.compile().map(|regex| {
                    self.regexes.push((regex, id));
                    id
                })
            }
        };
        self.count += usize::from(added.is_ok());
        self.known.insert(pattern, added.clone());
        added
    }

    /// The scanner; else why there can be none.
    pub(crate) fn build(self) -> Result<Scanner, String> {
        Ok(Scanner {
            exact: Plain::of(self.exact)?,
            lower: Plain::of(self.lower)?,
            regexes: self.regexes,
            count: self.count,
        })
    }
}

impl Plain {
    fn of((texts, ids): (Vec<String>, Vec<PatternId>)) -> Result<Self, String> {
        let build = || {
            // The larger kind of automaton is faster, and takes gigabytes for a large book.
            let mut builder = AhoCorasick::builder();
            builder
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(texts)
        };
        let automaton = match ids.is_empty() {
            true => None,
            false => Some(build().map_err(|error| error.to_string())?),
        };
        Ok(Self { automaton, ids })
    }

    fn mark(&self, text: &str, depth: usize, hits: &mut Hits) {
        for found in self
            .automaton
            .iter()
            .flat_map(|it| it.find_overlapping_iter(text))
        {
            hits.mark(self.ids[found.pattern().as_usize()], depth);
        }
    }
}

/// How many messages from the end each pattern was found last: 1 is the last message, 0 an entry.
#[derive(Debug)]
pub(crate) struct Hits {
    depths: Vec<usize>,
    /// Bytes that may still be looked through.
    left: usize,
}

impl Hits {
    fn mark(&mut self, id: PatternId, depth: usize) {
        self.depths[id] = self.depths[id].min(depth);
    }

    /// Whether a pattern is in one of the last `depth` messages, or in an entry.
    pub(crate) fn is_within(&self, id: PatternId, depth: usize) -> bool {
        self.depths[id] <= depth
    }
}

impl Scanner {
    /// No pattern found yet.
    pub(crate) fn hits(&self) -> Hits {
        Hits {
            depths: vec![usize::MAX; self.count],
            left: MAX_SCANNED_IN_ALL,
        }
    }

    /// Looks through the end of the message that is the `depth`th from the end, or, as 0, of an entry.
    pub(crate) fn scan(&self, text: &str, depth: usize, hits: &mut Hits) {
        let mut begin = text.len().saturating_sub(MAX_SCANNED_BYTES.min(hits.left));
        while !text.is_char_boundary(begin) {
            begin += 1;
        }
        let text = &text[begin..];
        hits.left -= text.len();
        self.exact.mark(text, depth, hits);
        if !self.lower.ids.is_empty() {
            self.lower.mark(&text.to_lowercase(), depth, hits);
        }
        for (regex, id) in &self.regexes {
            if hits.depths[*id] > depth && regex.is_match(text) {
                hits.mark(*id, depth);
            }
        }
    }
}
