//! What each card shows and says is in a file beside the tests. `UPDATE_SNAPSHOTS=1` writes them anew.

use std::fmt::Write;

use matou_persona::Persona;

use crate::cards::{composed, folder, names, read};

/// All that a card comes to, for people to read.
fn report(persona: &Persona) -> String {
    let mut report = String::from("# profile\n");
    let profile = serde_json::to_string_pretty(&persona.profile()).unwrap();
    writeln!(report, "{profile}\n\n# settings").unwrap();
    let sampling = serde_json::to_string(persona.sampling()).unwrap();
    writeln!(
        report,
        "stop: {:?}\nsystem messages: {:?}\nsampling: {sampling}",
        persona.stop(),
        persona.system_messages()
    )
    .unwrap();
    writeln!(report, "\n# findings").unwrap();
    for finding in persona.findings() {
        writeln!(report, "{finding}").unwrap();
    }
    let composed = composed(persona);
    writeln!(
        report,
        "\n# prompt, with {} entries of the book",
        composed.book_entries
    )
    .unwrap();
    for message in composed.messages {
        match message["content"].as_str() {
            Some(text) => {
                writeln!(report, "--- {}\n{text}", message["role"].as_str().unwrap()).unwrap()
            }
            None => writeln!(report, "--- as it is\n{message:#}").unwrap(),
        }
    }
    report
}

#[test]
fn every_card_comes_to_what_its_snapshot_says() {
    let updates = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let names = names();
    assert!(names.len() >= 16, "{names:?}");
    let mut wrong = Vec::new();
    for name in &names {
        let path = folder("snapshots").join(format!("{name}.txt"));
        let report = report(&read(name));
        if updates {
            std::fs::write(&path, &report).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != report {
            wrong.push(format!("=== {name}\n{report}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in tests/snapshots:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_snapshot_is_left_of_a_card_that_is_gone() {
    let names = names();
    for entry in std::fs::read_dir(folder("snapshots")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.iter().any(|name| file == format!("{name}.txt")),
            "{file}"
        );
    }
}

#[test]
fn the_same_conversation_makes_the_same_prompt() {
    for name in names() {
        assert_eq!(composed(&read(&name)), composed(&read(&name)), "{name}");
    }
}

#[test]
fn nothing_that_a_model_is_told_is_shown() {
    let secrets = [
        "description",
        "personality",
        "scenario",
        "mes_example",
        "system_prompt",
        "post_history_instructions",
        "content",
    ];
    let data = serde_json::json!({
        "name": "Spy", "first_mes": "Hello.", "creator": "someone",
        "description": "SECRET description", "personality": "SECRET personality",
        "scenario": "SECRET scenario", "mes_example": "SECRET mes_example",
        "system_prompt": "SECRET system_prompt",
        "post_history_instructions": "SECRET post_history_instructions",
        "character_book": {"entries": [{"keys": ["hello"], "content": "SECRET content"}]},
        "extensions": {"note": "SECRET extension"},
    });
    let persona = crate::cards::of(data);
    let shown = serde_json::to_string(&persona.profile()).unwrap();
    assert!(
        shown.contains("someone") && !shown.contains("SECRET"),
        "{shown}"
    );
    let png = persona.to_png(None).unwrap();
    let read = Persona::read(&png, "spy.png").unwrap();
    let picture = read.picture().unwrap();
    let lossy = String::from_utf8_lossy(&picture.bytes);
    assert!(!lossy.contains("ccv3") && !lossy.contains("chara") && !lossy.contains("tEXt"));
    let told = composed(&persona).messages[0]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    for secret in &secrets[..5] {
        assert!(
            told.contains(&format!("SECRET {secret}")),
            "{secret}: {told}"
        );
    }
}
