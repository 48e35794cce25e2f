//! The cards of the tests, and the conversation that each is asked about.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use matou_persona::{ComposeError, Composed, Persona, Scene, SystemMessages};
use serde_json::{Value, json};

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// File names of all cards, sorted.
pub(crate) fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder("cards")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder("cards").join(name)).unwrap()
}

pub(crate) fn read(name: &str) -> Persona {
    Persona::read(&bytes(name), name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A card of these fields, as V3.
pub(crate) fn of(data: Value) -> Persona {
    Persona::read(card(data).to_string().as_bytes(), "card.json").unwrap()
}

pub(crate) fn card(data: Value) -> Value {
    json!({"spec": "chara_card_v3", "spec_version": "3.0", "data": data})
}

/// Tokens are words here.
pub(crate) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

pub(crate) fn scene(messages: &[Value]) -> Scene<'_> {
    Scene {
        messages,
        user: None,
        greeting: 0,
        continues: false,
        now: NaiveDate::from_ymd_opt(2026, 3, 5)
            .unwrap()
            .and_hms_opt(15, 4, 0),
        count_tokens: &words,
    }
}

pub(crate) fn says(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// The conversation that every card is asked about; without its system message where the card takes
/// none.
pub(crate) fn conversation(persona: &Persona) -> Vec<Value> {
    let mut messages = vec![
        says("system", "Answer in one sentence."),
        json!({"role": "user", "name": "Robin", "content": "Hello there, do you know the harbour?"}),
        says("assistant", "I know it well."),
        json!({"role": "user", "content": [
            {"type": "text", "text": "Tell me of the LIGHTHOUSE and the storm."},
        ]}),
    ];
    if persona.system_messages() == SystemMessages::Refuse {
        messages.remove(0);
    }
    messages
}

pub(crate) fn composed(persona: &Persona) -> Composed {
    persona.compose(&scene(&conversation(persona))).unwrap()
}

/// What a card makes of messages, as a JSON list.
pub(crate) fn messages(persona: &Persona, messages: &[Value]) -> Result<Value, ComposeError> {
    Ok(persona.compose(&scene(messages))?.messages.into())
}
