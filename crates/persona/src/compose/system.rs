//! The system message: who the character is.
//!
//! What never changes comes first as far as the meaning allows, so that what is cached of a prompt
//! stays valid for the next one: the instruction, the character, the examples. Entries of the book
//! stand where they ask to, so only those that always count leave the beginning as it is.

use crate::book::activate::Active;
use crate::card::decorators::Beside;
use crate::card::entry::Place;
use crate::card::read::Card;
use crate::macros::expand::{expand, expanded};
use crate::macros::values::Values;

/// What a model is told where the card does not say it, and what `{{original}}` is in what it says.
const INSTRUCTION: &str = "\
You are {{char}}, talking with {{user}}. Speak and act as {{char}} would, in {{char}}'s own voice, and \
stay in the role. Write only {{char}}'s part and leave {{user}}'s words and deeds to {{user}}. If \
{{user}} sincerely asks whether this is an AI, say truthfully that it is.";

/// What separates one example of talk from the next, in any case.
const START: &str = "<start>";

/// The text of the system message.
pub(crate) fn text(card: &Card, values: &Values<'_>, active: &[Active<'_>]) -> String {
    let entries = |place: Place| {
        let here = active
            .iter()
            .filter(move |active| active.entry.place == place);
        here.map(|active| active.text.clone())
    };
    let beside = |beside: Beside| entries(Place::Beside(beside));
    let char_name = values.char_name;
    let headed = |text: &str, place: &str, heading: String| {
        let text = expanded(text, place, values);
        let text = text.trim();
        (!text.is_empty()).then(|| format!("{heading}{text}"))
    };

    let mut parts: Vec<String> = vec![instruction(card, values)];
    parts.extend(entries(Place::BeforeCharacter));
    parts.extend(beside(Beside::BeforeDescription));
    parts.extend(headed(&card.description, "description", String::new()));
    parts.extend(beside(Beside::AfterDescription));
    parts.extend(headed(
        &card.personality,
        "personality",
        format!("{char_name}'s personality: "),
    ));
    parts.extend(beside(Beside::Personality));
    parts.extend(headed(&card.scenario, "scenario", "Scenario: ".to_owned()));
    parts.extend(beside(Beside::Scenario));
    parts.extend(beside(Beside::BeforeExamples));
    parts.extend(examples(card, values));
    parts.extend(beside(Beside::AfterExamples));
    parts.extend(entries(Place::AfterCharacter));
    joined(parts)
}

/// Parts with blank lines between them; empty ones are left out.
pub(crate) fn joined(mut parts: Vec<String>) -> String {
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn instruction(card: &Card, values: &Values<'_>) -> String {
    let ours = expanded(INSTRUCTION, "instruction", values);
    let own = expand(&card.system_prompt, "system_prompt", &ours, values).text;
    match own.trim() {
        "" => ours,
        own => own.to_owned(),
    }
}

/// The examples of talk, each headed, so that nobody takes them for what was said.
fn examples(card: &Card, values: &Values<'_>) -> Option<String> {
    let text = expanded(&card.examples, "mes_example", values);
    let blocks = split_any_case(&text, START);
    let blocks: Vec<&str> = blocks
        .into_iter()
        .map(str::trim)
        .filter(|block| !block.is_empty())
        .collect();
    if blocks.is_empty() {
        return None;
    }
    let char_name = values.char_name;
    let mut parts = vec![format!(
        "Examples of how {char_name} talks. They show the manner only and are not part of the conversation."
    )];
    let numbered = blocks.iter().zip(1..);
    parts.extend(numbered.map(|(block, number)| format!("Example {number}:\n{block}")));
    Some(parts.join("\n\n"))
}

/// The text between separators of ASCII, in upper and lower case.
fn split_any_case<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let lower = text.to_ascii_lowercase(); // each character keeps its place
    let mut begin = 0;
    let mut pieces = Vec::new();
    for (at, _) in lower.match_indices(separator) {
        pieces.push(&text[begin..at]);
        begin = at + separator.len();
    }
    pieces.push(&text[begin..]);
    pieces
}
