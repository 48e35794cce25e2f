//! Each form of file, each spelling of a field.

use matou_persona::{Persona, PersonaError};
use serde_json::json;

use crate::builders::{archive, base64, chunk, png, text};
use crate::cards::{bytes, card, composed, names, of, read};

#[test]
fn a_card_is_the_same_in_every_file() {
    for name in names() {
        let persona = read(&name);
        let json = persona.to_json();
        let in_png = png(&[text("ccv3", &base64(json.as_bytes()))]);
        let in_zip = archive(&[("card.json", json.as_bytes())]);
        for (file, called) in [
            (json.as_bytes(), "a.json"),
            (&in_png, "a.png"),
            (&in_zip, "a.charx"),
        ] {
            let read = Persona::read(file, called).unwrap();
            assert_eq!(composed(&read), composed(&persona), "{name} as {called}");
            assert_eq!((read.id(), read.stop()), (persona.id(), persona.stop()));
        }
    }
}

#[test]
fn the_newer_chunk_of_a_picture_is_read_and_padding_is_no_matter() {
    let old = base64(br#"{"name": "Old"}"#);
    let new = base64(card(json!({"name": "New one"})).to_string().as_bytes());
    let both = png(&[text("chara", &old), text("ccv3", &new)]);
    assert_eq!(Persona::read(&both, "").unwrap().name(), "New one");
    let unpadded = old.trim_end_matches('=');
    let wrapped = format!("{}\n{}", &unpadded[..8], &unpadded[8..]);
    let only_old = png(&[text("Software", "x"), text("chara", &wrapped)]);
    assert_eq!(Persona::read(&only_old, "").unwrap().name(), "Old");
    // Keywords count as a whole.
    let other = png(&[text("charades", &old)]);
    assert_eq!(Persona::read(&other, "").unwrap_err(), PersonaError::NoCard);
}

#[test]
fn an_animated_picture_is_read_as_any_other() {
    let control = chunk(b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]);
    let json = base64(br#"{"name": "Moves"}"#);
    let persona = Persona::read(&png(&[control.clone(), text("chara", &json)]), "").unwrap();
    assert_eq!(persona.name(), "Moves");
    assert_eq!(persona.picture().unwrap().bytes, png(&[control]));
}

#[test]
fn toml_is_told_by_its_name_or_its_first_line() {
    let card = b"# By hand\n\nname = \"Pip\"\n";
    for called in ["pip.toml", "PIP.TOML", "", "pip"] {
        assert_eq!(Persona::read(card, called).unwrap().name(), "Pip");
    }
    let by_bytes = Persona::read(&bytes("toml_full.toml"), "").unwrap();
    assert_eq!(composed(&by_bytes), composed(&read("toml_full.toml")));
}

#[test]
fn the_model_name_is_stated_or_made() {
    let named = |name: &str, file: &str| {
        let card = json!({"name": name}).to_string();
        Persona::read(card.as_bytes(), file)
            .unwrap()
            .id()
            .to_owned()
    };
    assert_eq!(named("Captain Ada", "x.json"), "captain-ada");
    assert_eq!(named("★", "/cards/The Star.v2.json"), "the-star-v2");
    assert_eq!(named("★", "★.json"), "persona");
    assert_eq!(read("v3_settings.json").id(), "front-desk");
}

#[test]
fn settings_are_as_the_card_states_them() {
    let persona = read("v3_settings.json");
    assert_eq!(persona.model(), Some("qwen3:4b"));
    assert_eq!(persona.stop(), ["Guest:", "\nConcierge:"]);
    assert_eq!(persona.sampling().top_k, Some(40));
    assert_eq!(persona.sampling().seed, Some(7));
    let plain = read("v1_full.json");
    assert_eq!(plain.model(), None);
    assert_eq!(plain.sampling(), &matou_persona::Sampling::default());
}

#[test]
fn nicknames_are_what_a_character_is_called() {
    let persona = read("v3_full.json");
    assert_eq!(
        (persona.name(), persona.char_name()),
        ("Doctor Ottoline Vane", "Otti")
    );
    assert_eq!(of(json!({"name": "A", "nickname": " "})).char_name(), "A");
}

#[test]
fn pictures_are_only_what_is_in_the_card() {
    let picture = read("v3_full.json").picture().unwrap();
    assert_eq!(picture.media_type, "image/png");
    assert_eq!(read("toml_full.toml").picture(), Some(picture));
    assert_eq!(read("v2_full.json").picture(), None);
    let icon = |uri: &str| {
        let assets = json!([
            {"type": "icon", "uri": "data:image/gif;base64,R0lGODlhAAA=", "name": "other", "ext": "gif"},
            {"type": "icon", "uri": uri, "name": "main", "ext": "png"},
        ]);
        of(json!({"name": "A", "assets": assets}))
    };
    assert_eq!(icon("data:image/png;base64,PHN2Zy8+").picture(), None);
    assert_eq!(icon("https://cards.example/a.png").picture(), None);
    assert_eq!(
        icon("data:image/webp;base64,R0lGODdhAAA=")
            .picture()
            .unwrap()
            .media_type,
        "image/gif"
    );
}

#[test]
fn pictures_of_png_cards_hold_no_text() {
    let secrets = [
        text("chara", &base64(br#"{"name": "A"}"#)),
        text("Comment", "SECRET"),
        chunk(b"zTXt", b"chara\0\0SECRET"),
        chunk(b"iTXt", b"ccv3\0\0\0\0\0SECRET"),
        chunk(b"eXIf", b"SECRET"),
        chunk(b"gAMA", &[0, 0, 0, 1]),
    ];
    let mut file = png(&secrets);
    file.extend(b"SECRET behind the end");
    let persona = Persona::read(&file, "").unwrap();
    let picture = persona.picture().unwrap();
    assert_eq!(picture.bytes, png(&secrets[5..]));
    assert!(persona.profile().has_picture);
    // Neither does the main icon of another file.
    let json = card(json!({"name": "A", "assets": [
        {"type": "icon", "uri": "embeded://assets/a.png", "name": "main", "ext": "png"},
    ]}));
    let zip = archive(&[
        ("card.json", json.to_string().as_bytes()),
        ("assets/a.png", &file),
    ]);
    assert_eq!(
        Persona::read(&zip, "").unwrap().picture(),
        Some(picture.clone())
    );
    let respelled = json.to_string().replace("embeded:", "embedded:");
    let zip = archive(&[("card.json", respelled.as_bytes()), ("assets/a.png", &file)]);
    assert_eq!(Persona::read(&zip, "").unwrap().picture(), Some(picture));
}
