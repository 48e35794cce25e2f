//! What macros stand for in one prompt.

use std::cell::Cell;

use chrono::NaiveDateTime;

use crate::limits::MAX_MACRO_BYTES;

use super::choice::Seed;

/// A field that other fields can contain by a macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Description,
    Personality,
    Scenario,
}

impl Field {
    pub(crate) const ALL: [Self; 3] = [Self::Description, Self::Personality, Self::Scenario];

    /// Its name in the card and in macros.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Personality => "personality",
            Self::Scenario => "scenario",
        }
    }
}

/// What macros stand for. Texts of the conversation are put in as they are, never expanded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values<'a> {
    pub(crate) char_name: &'a str,
    pub(crate) user: &'a str,
    pub(crate) description: &'a str,
    pub(crate) personality: &'a str,
    pub(crate) scenario: &'a str,
    pub(crate) now: Option<NaiveDateTime>,
    /// What choices depend on.
    pub(crate) seed: Seed,
    pub(crate) last_message: &'a str,
    pub(crate) last_user_message: &'a str,
    pub(crate) last_char_message: &'a str,
    /// Fields are named but not put in: for looking through a card.
    pub(crate) is_dry: bool,
    pub(crate) allowance: Allowance,
}

/// Bytes that macros may still come to in this prompt.
#[derive(Debug, Clone)]
pub(crate) struct Allowance(Cell<usize>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Cell::new(MAX_MACRO_BYTES))
    }
}

impl Allowance {
    /// Whether so many more bytes may be spent; if so, they are.
    pub(crate) fn spend(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        if let Some(left) = left {
            self.0.set(left);
        }
        left.is_some()
    }
}

impl Values<'_> {
    /// The text of a field.
    pub(crate) fn field(&self, field: Field) -> &str {
        match field {
            Field::Description => self.description,
            Field::Personality => self.personality,
            Field::Scenario => self.scenario,
        }
    }
}
