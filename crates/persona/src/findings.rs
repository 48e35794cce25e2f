//! What a card has and does not get: for its author, and for who wonders why it is not as elsewhere.

use std::fmt;

use serde_json::Value;

use crate::book::activate::ReadyBook;
use crate::card::fields::Fields;
use crate::card::read::{Book, Card};
use crate::card::settings::Settings;
use crate::limits::{MAX_FINDINGS, MAX_SCAN_DEPTH};
use crate::macros::expand::expand;
use crate::macros::values::Values;

/// Something in a card that is kept and has no effect, or less than elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field, as in `data.character_book.entries[3].content`.
    pub place: String,
    /// What is there and what becomes of it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Fields of a character that are known here.
const KNOWN: [&str; 24] = [
    "name",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "alternate_greetings",
    "character_book",
    "tags",
    "creator",
    "character_version",
    "extensions",
    "assets",
    "nickname",
    "creator_notes_multilingual",
    "source",
    "group_only_greetings",
    "creation_date",
    "modification_date",
    "spec",
    "spec_version",
];

/// The findings of a card. `values` are those that look through it, with fields not put in.
pub(crate) fn of(
    card: &Card,
    book: &ReadyBook,
    has_icon: bool,
    values: &Values<'_>,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if let Some(data) = card.data() {
        findings.fields(card, &data);
    }
    findings.assets(card, has_icon);
    findings.macros(card, values);
    if let Some(card_book) = &card.book {
        findings.book(card_book, book, values);
    }
    findings.0.truncate(MAX_FINDINGS);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding {
                place: place.into(),
                what: what.into(),
            });
        }
    }

    fn fields(&mut self, card: &Card, data: &Fields<'_>) {
        let spec = card.json.get("spec").and_then(Value::as_str);
        if spec.is_some_and(|spec| spec != card.spec.name()) {
            self.add(
                "spec",
                format!(
                    "a version that is not known here; it is read as {}",
                    card.spec.name()
                ),
            );
        }
        let version = card.json.get("spec_version").and_then(Value::as_str);
        if version
            .and_then(|version| version.parse::<f64>().ok())
            .is_some_and(|version| version > 3.0)
        {
            self.add(
                "spec_version",
                "newer than 3.0, the newest that is known here",
            );
        }
        for key in data.keys().filter(|key| !KNOWN.contains(key)) {
            self.add(data.path(key), "not known here; kept and not used");
        }
        if card.group_greetings > 0 {
            self.add(
                data.path("group_only_greetings"),
                "there are no conversations of groups; kept and not used",
            );
        }
        let Some(extensions) = data.foreign("extensions") else {
            return;
        };
        for key in extensions.keys().filter(|&key| key != "matou") {
            self.add(
                extensions.path(key),
                "an extension of another program; kept and not used",
            );
        }
        for path in extensions
            .foreign("matou")
            .iter()
            .flat_map(Settings::unknown)
        {
            self.add(path, "not known here; kept and not used");
        }
    }

    fn assets(&mut self, card: &Card, has_icon: bool) {
        let icon = card.main_icon().map(|icon| icon.path.as_str());
        for asset in &card.assets {
            let is_icon = icon == Some(asset.path.as_str());
            if !is_icon {
                let what = format!(
                    "an asset of type `{}`; only the main icon is used",
                    asset.kind
                );
                self.add(&asset.path, what);
            } else if !has_icon && asset.uri != "ccdefault:" {
                self.add(&asset.path, "no picture that can be shown: it must be PNG, JPEG, WebP, GIF or AVIF, and in the card itself; nothing is fetched");
            }
        }
    }

    fn macros(&mut self, card: &Card, values: &Values<'_>) {
        let mut texts: Vec<(String, &str)> = [
            ("description", &card.description),
            ("personality", &card.personality),
            ("scenario", &card.scenario),
            ("mes_example", &card.examples),
            ("system_prompt", &card.system_prompt),
            ("post_history_instructions", &card.post_history_instructions),
        ]
        .map(|(key, text)| (card.field(key), text.as_str()))
        .into();
        for (index, greeting) in card.greetings.iter().enumerate() {
            let place = match index.checked_sub(1) {
                None => card.field("first_mes"),
                Some(index) => card.field(&format!("alternate_greetings[{index}]")),
            };
            texts.push((place, greeting));
        }
        for (place, text) in texts {
            self.unknown_macros(&place, text, values);
        }
    }

    fn unknown_macros(&mut self, place: &str, text: &str, values: &Values<'_>) {
        for unknown in expand(text, place, "", values).unknown {
            self.add(
                place,
                format!("the macro {unknown} is not known here; it stays as it is written"),
            );
        }
    }

    fn book(&mut self, card_book: &Book, book: &ReadyBook, values: &Values<'_>) {
        let path = &card_book.path;
        if card_book.token_budget == 0 {
            self.add(
                format!("{path}.token_budget"),
                "0 tokens: no entry is ever used",
            );
        }
        if card_book.scan_depth > MAX_SCAN_DEPTH {
            let what = format!("at most the last {MAX_SCAN_DEPTH} messages are looked through");
            self.add(format!("{path}.scan_depth"), what);
        }
        for (place, problem) in &book.unusable {
            self.add(place, problem);
        }
        for entry in &card_book.entries {
            for (place, problem) in &entry.unhonoured {
                self.add(place, *problem);
            }
            let content = format!("{}.content", entry.path);
            for decorator in &entry.decorators.unknown {
                let what = format!(
                    "the decorator `{decorator}` has no effect here; it is left out of the prompt"
                );
                self.add(&content, what);
            }
            self.unknown_macros(&content, &entry.content, values);
        }
    }
}
