//! Any bytes as a character card, and all that can be done with one that is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matou_persona::{Persona, Scene};
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    // The first byte says whether the file's name makes it TOML.
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let name = if choice % 2 == 0 { "card" } else { "card.toml" };
    let Ok(persona) = Persona::read(data, name) else {
        return;
    };
    let messages = [json!({"role": "user", "name": "Robin", "content": "Tell me of the harbour."})];
    let words = |text: &str| text.split_whitespace().count();
    let scene = Scene {
        messages: &messages,
        user: None,
        greeting: 0,
        continues: false,
        now: None,
        count_tokens: &words,
    };
    let _ = persona.compose(&scene);
    let _ = (persona.findings(), persona.profile(), persona.picture());
    for written in [persona.to_png(None), persona.to_charx()]
        .into_iter()
        .flatten()
    {
        Persona::read(&written, name).expect("what is written can be read");
    }
    Persona::read(persona.to_json().as_bytes(), "card.json").expect("what is written can be read");
});
