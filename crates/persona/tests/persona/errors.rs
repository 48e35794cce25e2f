//! What is wrong is said with its place and what to do.

use matou_persona::{Persona, PersonaError};
use serde_json::{Value, json};

use crate::builders::{archive, base64, png, text};
use crate::cards::card;

fn refused(bytes: &[u8], file_name: &str) -> String {
    Persona::read(bytes, file_name).unwrap_err().to_string()
}

fn refused_data(data: Value) -> String {
    refused(card(data).to_string().as_bytes(), "card.json")
}

#[test]
fn a_field_of_another_type_is_named() {
    for (data, expected) in [
        (
            json!({"name": "A", "tags": 5}),
            "`data.tags` must be a list, not a number",
        ),
        (
            json!({"name": "A", "tags": ["a", {}]}),
            "`data.tags[1]` must be text, not an object",
        ),
        (json!({"name": 5}), "`data.name` must be text, not a number"),
        (
            json!({"name": "A", "description": []}),
            "`data.description` must be text, not a list",
        ),
        (
            json!({"name": "A", "first_mes": true}),
            "`data.first_mes` must be text, not true or false",
        ),
        (
            json!({"name": "A", "creation_date": "now"}),
            "`data.creation_date` must be a number",
        ),
        (
            json!({"name": "A", "assets": ["a"]}),
            "`data.assets[0]` must be an object, not text",
        ),
        (
            json!({"name": "A", "character_book": []}),
            "`data.character_book` must be an object, not a list",
        ),
        (
            json!({"name": "A", "character_book": {"entries": {}}}),
            "`data.character_book.entries` must be a list",
        ),
        (
            json!({"name": "A", "character_book": {"entries": [{}, {"keys": "k"}]}}),
            "`data.character_book.entries[1].keys` must be a list, not text",
        ),
        (
            json!({"name": "A", "character_book": {"entries": [{"insertion_order": "1"}]}}),
            "`data.character_book.entries[0].insertion_order` must be a number, not text",
        ),
        (
            json!({"name": "A", "extensions": {"matou": 1}}),
            "`data.extensions.matou` must be an object",
        ),
    ] {
        let error = refused_data(data);
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(refused(br#"{"name": "A", "tags": 5}"#, "").starts_with("`tags` must be"));
}

#[test]
fn settings_of_ours_are_checked() {
    for (matou, expected) in [
        (
            json!({"sampling": {"temperature": -1}}),
            "sampling.temperature` must be between 0 and 100, not -1",
        ),
        (
            json!({"sampling": {"temperature": "hot"}}),
            "sampling.temperature` must be a number, not text",
        ),
        (
            json!({"sampling": {"top_p": 0}}),
            "sampling.top_p` must be greater than 0",
        ),
        (
            json!({"sampling": {"top_k": 0}}),
            "sampling.top_k` must be a whole number between 1 and",
        ),
        (
            json!({"sampling": {"top_k": 1.5}}),
            "sampling.top_k` must be a whole number",
        ),
        (
            json!({"sampling": {"min_p": 2}}),
            "sampling.min_p` must be between 0 and 1",
        ),
        (
            json!({"sampling": {"repetition_penalty": 0}}),
            "sampling.repetition_penalty` must be greater",
        ),
        (
            json!({"sampling": {"repetition_penalty": 101}}),
            "sampling.repetition_penalty` must be between 0 and 100",
        ),
        (
            json!({"sampling": {"presence_penalty": 3}}),
            "sampling.presence_penalty` must be between -2 and 2",
        ),
        (
            json!({"sampling": {"seed": -1}}),
            "sampling.seed` must be a whole number",
        ),
        (
            json!({"sampling": {"max_tokens": 1e300}}),
            "sampling.max_tokens` must be a whole number",
        ),
        (
            json!({"system_messages": "ignore"}),
            "system_messages` must be \"add\" or \"refuse\"",
        ),
        (json!({"stop": "x"}), "stop` must be a list, not text"),
        (
            json!({"id": "two words"}),
            "id` is a model name and must not have blanks",
        ),
        (json!({"model": 1}), "model` must be text"),
    ] {
        let error = refused_data(json!({"name": "A", "extensions": {"matou": matou}}));
        assert!(
            error.starts_with(&format!("`data.extensions.matou.{expected}")),
            "{error}"
        );
    }
}

#[test]
fn a_card_without_a_name_says_where_it_belongs() {
    for (json, place) in [
        (json!({}), "`name`"),
        (json!({"name": " \n"}), "`name`"),
        (card(json!({"name": null})), "`data.name`"),
        (json!({"spec": "chara_card_v2", "name": "A"}), "`data.name`"),
    ] {
        let error = refused(json.to_string().as_bytes(), "");
        assert_eq!(error, format!("the card has no name: fill in {place}"));
    }
    assert_eq!(
        refused(b"nickname = 'x'", "a.toml"),
        "the card has no name: fill in `name`"
    );
}

#[test]
fn names_cannot_pass_for_others() {
    for (name, code) in [
        ("A\u{202e}b", "U+202E"),
        ("A\nB", "U+000A"),
        ("A\0B", "U+0000"),
        ("A\u{85}B", "U+0085"),
    ] {
        let error = refused_data(json!({"name": name}));
        assert!(
            error.starts_with("`data.name` has the control character") && error.contains(code),
            "{error}"
        );
    }
    let error = refused_data(json!({"name": "é".repeat(201)}));
    assert!(error.contains("201 characters"), "{error}");
    assert!(refused_data(json!({"name": "A", "nickname": "B\rC"})).starts_with("`data.nickname`"));
}

#[test]
fn files_that_are_no_cards_say_what_they_are() {
    for (bytes, name, expected) in [
        (&b""[..], "", "neither JSON nor TOML"),
        (b"Just words.", "a.txt", "neither JSON nor TOML"),
        (
            b"\xff\xd8\xff\xe0\0\0",
            "a.png",
            "image/jpeg, in which no cards are kept",
        ),
        (b"\0\0\0\0", "", "neither text nor"),
        (
            b"{\"name\": \"\xff\"}",
            "a.json",
            "the file is not UTF-8 text at byte 10",
        ),
        (
            b"{\"name\": ",
            "",
            "the file is not JSON: EOF while parsing a value at line 1",
        ),
        (b"[]", "a.json", "`the card` must be an object, not a list"),
        (
            b"name = ",
            "a.toml",
            "not as TOML cards are: TOML parse error at line 1",
        ),
        (b"name = 'A'\nnmae = 'B'", "", "unknown field `nmae`"),
        (
            b"name = 'A'\n[sampling]\ntemprature = 1",
            "",
            "unknown field `temprature`",
        ),
        (
            b"name = 'A'\n[sampling]\ntemperature = -1",
            "",
            "`sampling.temperature` must be between",
        ),
        (
            b"name = 'A'\n[[book.entries]]\nkey = 'B'",
            "",
            "unknown field `key`",
        ),
        (
            br#"{"spec": "lorebook_v3", "data": {}}"#,
            "",
            "a book alone",
        ),
        (
            br#"{"spec": "other", "name": "A"}"#,
            "",
            "needs an object `data`",
        ),
    ] {
        let error = refused(bytes, name);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn pictures_say_what_is_wrong_with_them() {
    let error = Persona::read(&png(&[]), "a.png").unwrap_err();
    assert_eq!(error, PersonaError::NoCard);
    assert!(error.to_string().contains("picture only"));
    let error = refused(&png(&[text("chara", "***")]), "");
    assert!(error.contains("chunk `chara` is not base64"), "{error}");
    let error = refused(&png(&[text("ccv3", &base64(b"\xff\xfe"))]), "");
    assert!(
        error.contains("chunk `ccv3` is not UTF-8 text at byte 0"),
        "{error}"
    );
    let error = refused(&png(&[text("ccv3", &base64(b"{"))]), "");
    assert!(error.contains("chunk `ccv3` is not JSON"), "{error}");
}

#[test]
fn archives_say_what_is_wrong_with_them() {
    let error = refused(&archive(&[("other.json", b"{}")]), "");
    assert!(error.contains("no `card.json` at its root"), "{error}");
    let error = refused(b"PK\x03\x04 and nothing", "");
    assert!(error.contains("CHARX archive cannot be used"), "{error}");
}

#[test]
fn fields_that_contain_each_other_are_named() {
    let data =
        json!({"name": "A", "description": "{{personality}}", "personality": "{{Description}}"});
    let expected = "description → personality → description";
    assert!(refused_data(data).contains(expected));
}
