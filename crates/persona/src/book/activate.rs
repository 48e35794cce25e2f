//! Which entries of the book a conversation calls for, and which of them fit.
//!
//! An entry counts if one of its keys is in the messages that are looked through, and whatever else
//! it asks for holds. With recursive scanning the texts of entries that count call for more, a few
//! rounds long. Then entries are dropped until the rest fits the budget: the lowest priority first,
//! and of equals the one that would stand last.

use crate::card::entry::Entry;
use crate::card::read::{Book, Card};
use crate::limits::{MAX_RECURSION, MAX_SCAN_DEPTH};
use crate::macros::expand::{Expanded, expand};
use crate::macros::values::Values;

use super::key::Pattern;
use super::scan::{Hits, PatternId, Scanner, ScannerBuilder};

/// Characters of a key that a finding shows.
const MAX_SHOWN_CHARS: usize = 60;

/// A book that is ready to be looked through.
#[derive(Debug)]
pub(crate) struct ReadyBook {
    scanner: Scanner,
    /// Beside the card's entries.
    keys: Vec<EntryKeys>,
    /// How many of the last messages any entry looks at.
    depth: usize,
    /// Keys that are never found: where, and why.
    pub(crate) unusable: Vec<(String, String)>,
}

/// Patterns of an entry. A key that cannot be used is in none of the lists.
#[derive(Debug, Default)]
struct EntryKeys {
    keys: Vec<PatternId>,
    secondary: Vec<PatternId>,
    additional: Vec<PatternId>,
    exclude: Vec<PatternId>,
    scan_depth: usize,
}

/// An entry that counts.
pub(crate) struct Active<'a> {
    /// Its place in the book.
    index: usize,
    pub(crate) entry: &'a Entry,
    pub(crate) text: String,
}

/// A conversation, as the book sees it.
pub(crate) struct Talk<'a> {
    /// Texts of the user's and the character's messages, the last first, as many as
    /// [`ReadyBook::depth`].
    pub(crate) latest: &'a [String],
    /// The character's messages.
    pub(crate) answers: usize,
    /// The greeting that it began with.
    pub(crate) greeting: usize,
}

impl ReadyBook {
    /// Makes a card's book ready. `values` need no conversation: keys can name the character only.
    pub(crate) fn of(card: &Card, values: &Values<'_>) -> Self {
        let mut this = Self {
            scanner: Scanner::default(),
            keys: Vec::new(),
            depth: 0,
            unusable: Vec::new(),
        };
        let Some(book) = &card.book else {
            return this;
        };
        let mut builder = ScannerBuilder::default();
        for (index, entry) in book.entries.iter().enumerate() {
            let scan_depth = entry
                .scan_depth
                .unwrap_or(book.scan_depth)
                .min(MAX_SCAN_DEPTH);
            let mut patterns = |keys: &[String], field: &str| -> Vec<PatternId> {
                let mut ids = Vec::new();
                for key in keys {
                    match pattern(key, entry, &place(index), values).map(|it| builder.add(it)) {
                        Ok(Ok(id)) => ids.push(id),
                        Ok(Err(problem)) | Err(problem) => {
                            let place = format!("{}.{field}", entry.path);
                            let key: String = key.chars().take(MAX_SHOWN_CHARS).collect();
                            let problem = format!("the key `{key}` {problem}: it is never found");
                            this.unusable.push((place, problem));
                        }
                    }
                }
                ids
            };
            let keys = EntryKeys {
                keys: patterns(&entry.keys, "keys"),
                secondary: patterns(&entry.secondary_keys, "secondary_keys"),
                additional: patterns(&entry.decorators.additional_keys, "content"),
                exclude: patterns(&entry.decorators.exclude_keys, "content"),
                scan_depth,
            };
            this.depth = this.depth.max(scan_depth);
            this.keys.push(keys);
        }
        match builder.build() {
            Ok(scanner) => this.scanner = scanner,
            Err(problem) => {
                let problem = format!("its keys are too many to be looked for together: {problem}");
                this.unusable.push((book.path.clone(), problem));
                this.keys.clear();
            }
        }
        this
    }

    /// How many of the last messages are looked through.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The entries that count and fit, in the order in which they stand in the prompt.
    pub(crate) fn activate<'a>(
        &self,
        book: &'a Book,
        talk: &Talk<'_>,
        values: &Values<'_>,
        count_tokens: &dyn Fn(&str) -> usize,
    ) -> Vec<Active<'a>> {
        let mut hits = self.scanner.hits();
        for (depth, text) in talk.latest.iter().enumerate() {
            self.scanner.scan(text, depth + 1, &mut hits);
        }
        let entries = book.entries.iter().zip(&self.keys).enumerate();
        let mut waiting: Vec<(usize, (&Entry, &EntryKeys))> = entries.collect();
        let mut active = Vec::new();
        for round in 0..=MAX_RECURSION {
            let (called, rest): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, (entry, keys))| is_called(entry, keys, talk, &hits));
            waiting = rest;
            if called.is_empty() {
                break;
            }
            for (index, (entry, _)) in called {
                let place = place(index);
                let Expanded { text, hidden, .. } = expand(&entry.content, &place, "", values);
                if book.is_recursive && round < MAX_RECURSION {
                    self.scanner
                        .scan(&format!("{text}\n{hidden}"), 0, &mut hits);
                }
                let text = text.trim().to_owned();
                if !text.is_empty() {
                    active.push(Active { index, entry, text });
                }
            }
            if !book.is_recursive {
                break;
            }
        }
        fitting(active, book.token_budget, count_tokens)
    }
}

/// The pattern of a key; else why it has none.
fn pattern(key: &str, entry: &Entry, place: &str, values: &Values<'_>) -> Result<Pattern, String> {
    let lower = key.to_ascii_lowercase();
    if lower.contains("{{user}}") || lower.contains("<user>") {
        return Err("names the user, who is another one in each conversation".to_owned());
    }
    let key = expand(key, place, "", values).text;
    match key.trim() {
        "" => Err("says nothing".to_owned()),
        key => Ok(Pattern::of(key, entry.uses_regex, entry.is_case_sensitive)),
    }
}

/// What choices in an entry depend on: the same in all forms of the card.
fn place(index: usize) -> String {
    format!("entries[{index}]")
}

/// Whether an entry counts.
fn is_called(entry: &Entry, keys: &EntryKeys, talk: &Talk<'_>, hits: &Hits) -> bool {
    let any = |ids: &[PatternId]| ids.iter().any(|&id| hits.is_within(id, keys.scan_depth));
    let decorators = &entry.decorators;
    if !entry.is_enabled {
        return false;
    }
    if decorators.activates {
        return true;
    }
    if decorators.never_activates
        || decorators
            .greeting
            .is_some_and(|greeting| greeting != talk.greeting)
        || decorators
            .only_after
            .is_some_and(|after| talk.answers < after)
        || decorators
            .only_every
            .is_some_and(|every| !talk.answers.is_multiple_of(every))
        || !entry.uses_regex && any(&keys.exclude)
    {
        return false;
    }
    // With regular expressions the specification has other rules: further keys are further ways to
    // match, and what would stand beside the keys is nothing, unless there are no keys.
    if entry.uses_regex {
        return entry.is_constant && entry.keys.is_empty()
            || any(&keys.keys)
            || any(&keys.additional);
    }
    let is_asked = |stated: &[String], ids: &[PatternId]| stated.is_empty() || any(ids);
    let secondary = !entry.is_selective || is_asked(&entry.secondary_keys, &keys.secondary);
    entry.is_constant
        || any(&keys.keys) && is_asked(&decorators.additional_keys, &keys.additional) && secondary
}

/// Those that the budget has room for, in order.
fn fitting<'a>(
    mut active: Vec<Active<'a>>,
    budget: usize,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<Active<'a>> {
    // Sorting keeps the order of the card among equals.
    active.sort_by_key(|active| active.index);
    active.sort_by(|one, other| one.entry.order.total_cmp(&other.entry.order));
    let mut kept: Vec<usize> = (0..active.len()).collect();
    kept.sort_by(|&one, &other| {
        active[other]
            .entry
            .priority
            .total_cmp(&active[one].entry.priority)
    });
    let mut total: usize = 0;
    let fits = kept.iter().take_while(|&&index| {
        total = total.saturating_add(count_tokens(&active[index].text));
        total <= budget
    });
    let mut is_kept = vec![false; active.len()];
    for &index in fits {
        is_kept[index] = true;
    }
    let mut is_kept = is_kept.into_iter();
    active.retain(|_| is_kept.next().unwrap_or(false));
    active
}
