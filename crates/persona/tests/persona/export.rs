//! Cards written in each form, and read again.

use matou_persona::{Persona, PersonaError};
use serde_json::{Value, json};

use crate::builders::{archive, base64, chunk, png, text};
use crate::cards::{bytes, card, composed, names, of, read};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The JSON of a card of the tests.
fn original(name: &str) -> Value {
    let bytes = bytes(name);
    let text = String::from_utf8(bytes).unwrap();
    parsed(text.trim_start_matches('\u{feff}'))
}

fn read_again(file: &[u8], name: &str) -> Persona {
    Persona::read(file, name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_card_in_its_own_version_stays_value_for_value() {
    for name in names() {
        if name.starts_with("v3") {
            assert_eq!(parsed(&read(&name).to_json()), original(&name), "{name}");
        }
        if name.starts_with("v2") {
            assert_eq!(parsed(&read(&name).to_json_v2()), original(&name), "{name}");
        }
    }
}

#[test]
fn a_newer_version_keeps_all_that_an_older_had() {
    for name in names()
        .into_iter()
        .filter(|name| name.starts_with("v1") || name.starts_with("v2"))
    {
        let original = original(&name);
        let v3 = parsed(&read(&name).to_json());
        assert_eq!(
            (&v3["spec"], &v3["spec_version"]),
            (&json!("chara_card_v3"), &json!("3.0"))
        );
        let before = if name.starts_with("v1") {
            &original
        } else {
            &original["data"]
        };
        for (key, value) in before.as_object().unwrap() {
            assert_eq!(&v3["data"][key], value, "{name}: {key}");
        }
        assert_eq!(v3["data"]["group_only_greetings"], json!([]));
        let again = read_again(v3.to_string().as_bytes(), "card.json");
        assert_eq!(composed(&again), composed(&read(&name)), "{name}");
    }
    let v2 = parsed(&read("v1_full.json").to_json_v2());
    assert_eq!(
        (&v2["spec"], &v2["spec_version"]),
        (&json!("chara_card_v2"), &json!("2.0"))
    );
    assert_eq!(v2["data"]["extensions"], json!({}));
    let blank = Persona::read(br#"{"name": "A", "spec": "", "spec_version": ""}"#, "").unwrap();
    let v3 = parsed(&blank.to_json());
    assert!(v3["data"].get("spec").is_none() && v3["data"].get("spec_version").is_none());
}

#[test]
fn an_older_version_keeps_what_it_does_not_know_but_decorators() {
    let v2 = parsed(&read("v3_full.json").to_json_v2());
    let mut expected = original("v3_full.json");
    expected["spec"] = "chara_card_v2".into();
    expected["spec_version"] = "2.0".into();
    assert_eq!(v2, expected);
    let v2 = read("v3_decorators.json").to_json_v2();
    assert!(!v2.contains("@@"), "{v2}");
}

#[test]
fn every_card_comes_back_from_every_form() {
    for name in names() {
        let persona = read(&name);
        let before = (composed(&persona), persona.picture());
        let files = [
            ("a.json", persona.to_json().into_bytes()),
            ("a.charx", persona.to_charx().unwrap()),
            ("a.toml", persona.to_toml().unwrap().into_bytes()),
        ];
        for (called, file) in files {
            let again = read_again(&file, called);
            assert_eq!(
                (composed(&again), again.picture()),
                before,
                "{name} as {called}"
            );
            assert_eq!(again.id(), persona.id());
            assert_eq!(again.sampling(), persona.sampling());
            assert_eq!(again.system_messages(), persona.system_messages());
            assert_eq!(again.greetings("x"), persona.greetings("x"));
        }
        let file = persona.to_png(None).unwrap();
        let again = read_again(&file, "a.png");
        assert_eq!(composed(&again), composed(&persona), "{name} as PNG");
        if persona.picture().is_some() {
            assert_eq!(again.picture(), persona.picture());
        }
        assert_eq!(again.to_json(), persona.to_json());
    }
}

#[test]
fn both_versions_are_put_into_a_picture_and_old_ones_replaced() {
    let kept = [text("Software", "brush"), chunk(b"gAMA", &[0, 0, 0, 1])];
    let old = [
        text("chara", "AAAA"),
        text("ccv3", "AAAA"),
        text("ccv3", "BBBB"),
    ];
    let file = png(&[
        kept[0].clone(),
        old[0].clone(),
        kept[1].clone(),
        old[1].clone(),
        old[2].clone(),
    ]);
    let persona = of(json!({"name": "A"}));
    let made = persona.to_png(Some(&file)).unwrap();
    let before_end = png(&kept).len() - 12;
    assert_eq!(made[..before_end], png(&kept)[..before_end]);
    let compact = |json: String| base64(parsed(&json).to_string().as_bytes());
    let (v2, v3) = (compact(persona.to_json_v2()), compact(persona.to_json()));
    let cards = [text("chara", &v2), text("ccv3", &v3), chunk(b"IEND", &[])].concat();
    assert_eq!(made[before_end..], cards);
    // And once more: nothing piles up.
    let again = Persona::read(&made, "").unwrap();
    assert_eq!(again.to_png(None).unwrap(), made);
}

#[test]
fn a_picture_that_is_none_is_an_error() {
    let error = of(json!({"name": "A"}))
        .to_png(Some(b"GIF89a"))
        .unwrap_err();
    assert!(
        matches!(error, PersonaError::Png { offset: 0, .. }),
        "{error}"
    );
}

#[test]
fn archives_keep_their_assets_byte_for_byte() {
    let json = card(json!({"name": "A", "assets": [
        {"type": "icon", "uri": "embeded://assets/icon/images/a.gif", "name": "main", "ext": "gif"},
        {"type": "x_sound", "uri": "embeded://assets/x.mp3", "name": "x", "ext": "mp3"},
    ]}));
    let sound: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    let picture = b"GIF89a\0\0".to_vec();
    let file = archive(&[
        ("assets/x.mp3", &sound),
        ("card.json", json.to_string().as_bytes()),
        ("assets/icon/images/a.gif", &picture),
        ("program.json", b"{}"),
    ]);
    let persona = Persona::read(&file, "").unwrap();
    assert_eq!(persona.picture().unwrap().bytes, picture);
    let written = persona.to_charx().unwrap();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&written)).unwrap();
    assert_eq!(zip.len(), 4);
    for (name, expected) in [
        ("assets/x.mp3", &sound),
        ("assets/icon/images/a.gif", &picture),
        ("program.json", &b"{}".to_vec()),
    ] {
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut zip.by_name(name).unwrap(), &mut found).unwrap();
        assert_eq!(&found, expected, "{name}");
    }
    assert_eq!(
        parsed(&Persona::read(&written, "").unwrap().to_json()),
        json
    );
}

#[test]
fn toml_has_all_that_a_prompt_is_made_of() {
    let written = read("toml_full.toml").to_toml().unwrap();
    for key in [
        "[sampling]",
        "seed = 1",
        "[[book.entries]]",
        "user_name = \"Mate\"",
        "picture = \"data:",
    ] {
        assert!(written.contains(key), "{key}: {written}");
    }
    let again = Persona::read(written.as_bytes(), "").unwrap();
    assert_eq!(again.to_toml().unwrap(), written);
}
