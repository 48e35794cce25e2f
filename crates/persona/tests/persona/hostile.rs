//! Cards that are made to hurt: each is refused, or does no harm.

use matou_persona::{MAX_CARD_BYTES, Persona, PersonaError};
use serde_json::{Value, json};

use crate::builders::{SIGNATURE, archive, base64, chunk, png, text};
use crate::cards::{card, composed, of, says, scene};

fn refused(bytes: &[u8]) -> PersonaError {
    Persona::read(bytes, "card").unwrap_err()
}

#[test]
fn a_chunk_of_four_gigabytes_is_refused() {
    let mut file = SIGNATURE.to_vec();
    file.extend(u32::MAX.to_be_bytes());
    file.extend(b"tEXtccv3\0");
    let error = refused(&file);
    assert!(
        matches!(&error, PersonaError::Png { offset: 8, problem } if problem.contains("4294967295")),
        "{error}"
    );
}

#[test]
fn a_truncated_picture_is_refused_wherever_it_ends() {
    let whole = png(&[text("chara", &base64(br#"{"name": "A"}"#))]);
    assert!(Persona::read(&whole, "").is_ok());
    for length in 8..whole.len() {
        let error = refused(&whole[..length]);
        assert!(
            matches!(error, PersonaError::Png { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn compressed_text_in_a_picture_is_never_unpacked() {
    // What says that it is compressed is not even that.
    let bomb = chunk(
        b"zTXt",
        &[b"ccv3\0\0".as_slice(), &[0xff; 1 << 20]].concat(),
    );
    assert_eq!(
        refused(&png(std::slice::from_ref(&bomb))),
        PersonaError::NoCard
    );
    let beside = png(&[bomb, text("chara", &base64(br#"{"name": "A"}"#))]);
    assert!(
        Persona::read(&beside, "")
            .unwrap()
            .picture()
            .unwrap()
            .bytes
            .len()
            < 200
    );
}

#[test]
fn a_zip_bomb_is_refused() {
    let spaces = vec![b' '; 60_000_000];
    let error = refused(&archive(&[("card.json", &spaces)]));
    assert!(
        matches!(
            error,
            PersonaError::TooLarge {
                limit: 4_000_000,
                ..
            }
        ),
        "{error}"
    );
    // Far less, and yet a thousand times what it is packed as.
    let error = refused(&archive(&[("card.json", &spaces[..3_000_000])]));
    assert!(
        matches!(
            error,
            PersonaError::TooLarge {
                limit: 1_000_000,
                ..
            }
        ),
        "{error}"
    );
    let json = card(json!({"name": "A", "assets": [
        {"type": "icon", "uri": "embeded://a", "name": "main", "ext": "png"}]}));
    let error = refused(&archive(&[
        ("card.json", json.to_string().as_bytes()),
        ("a", &spaces),
    ]));
    assert!(matches!(error, PersonaError::TooLarge { .. }), "{error}");
}

#[test]
fn other_files_of_an_archive_are_not_unpacked() {
    let zeros = vec![0; 60_000_000];
    let file = archive(&[("card.json", br#"{"name": "A"}"#), ("assets/bomb", &zeros)]);
    let persona = Persona::read(&file, "").unwrap();
    assert!(persona.to_charx().unwrap().len() < 100_000);
}

#[test]
fn an_archive_of_a_hundred_thousand_files_is_refused() {
    let names: Vec<String> = (0..100_000).map(|index| index.to_string()).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let error = refused(&archive(&files));
    assert!(
        matches!(&error, PersonaError::Charx { problem } if problem.contains("4096")),
        "{error}"
    );
    let error = refused(&archive(&files[..5_000]));
    assert!(error.to_string().contains("5000 files"), "{error}");
}

#[test]
fn a_card_of_fifty_megabytes_is_refused_with_both_numbers() {
    let error = refused(&vec![b' '; 50_000_000]);
    let expected = PersonaError::TooLarge {
        what: "the file".into(),
        bytes: 50_000_000,
        limit: MAX_CARD_BYTES,
    };
    assert_eq!(error, expected);
    let error = refused(&vec![b' '; 5_000_000]);
    assert!(
        matches!(
            error,
            PersonaError::TooLarge {
                limit: 4_000_000,
                ..
            }
        ),
        "{error}"
    );
    let error = refused(&png(&[text("chara", &"A".repeat(8_000_000))]));
    assert!(
        matches!(
            error,
            PersonaError::TooLarge {
                limit: 4_000_000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn deep_json_is_refused() {
    let deep = format!(
        "{{\"name\": {}{}}}",
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    );
    assert!(matches!(
        refused(deep.as_bytes()),
        PersonaError::Json { .. }
    ));
    let deep = format!("name = {}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(matches!(
        Persona::read(deep.as_bytes(), "a.toml"),
        Err(PersonaError::Toml { .. })
    ));
}

#[test]
fn more_than_anybody_needs_is_refused() {
    let entries = vec![json!({}); 10_001];
    let error = refused(
        card(json!({"name": "A", "character_book": {"entries": entries}}))
            .to_string()
            .as_bytes(),
    );
    assert!(
        error
            .to_string()
            .contains("10001 elements, and at most 10000"),
        "{error}"
    );
    let greetings = vec![json!("Hi"); 1_000];
    let error = refused(
        card(json!({"name": "A", "alternate_greetings": greetings}))
            .to_string()
            .as_bytes(),
    );
    assert!(
        error
            .to_string()
            .starts_with("`data.alternate_greetings` has 1000"),
        "{error}"
    );
}

#[test]
fn regular_expressions_that_explode_do_not() {
    let entries: Vec<Value> = [
        "/(a{1000}){1000}/",
        "/(((a{100}){100}){100}){100}/",
        "/(a+)+$/",
        "/^(a|a)*$/",
    ]
    .iter()
    .map(|key| json!({"keys": [key], "content": key}))
    .collect();
    let persona = of(json!({"name": "A", "character_book": {"entries": entries}}));
    let unusable = persona
        .findings()
        .into_iter()
        .filter(|finding| finding.what.contains("never found"));
    assert_eq!(unusable.count(), 2);
    let talk = [says("user", &("a".repeat(60_000) + "!"))];
    assert_eq!(persona.compose(&scene(&talk)).unwrap().book_entries, 0);
    let talk = [says("user", &"a".repeat(60_000))];
    assert_eq!(persona.compose(&scene(&talk)).unwrap().book_entries, 2);
}

#[test]
fn so_many_regular_expressions_are_run_and_no_more() {
    let entries: Vec<Value> = (0..600)
        .map(|index| json!({"keys": [format!("/k{index}$/")], "content": "E"}))
        .collect();
    let persona = of(json!({"name": "A", "character_book": {"entries": entries}}));
    assert_eq!(persona.findings().len(), 100);
    assert!(persona.findings()[0].to_string().contains("beyond the 500"));
}

#[test]
fn macros_do_not_grow_a_prompt_without_end() {
    let persona = of(json!({
        "name": "A",
        "scenario": "x".repeat(10_000),
        "personality": "{{scenario}}".repeat(1_000),
        "description": "{{personality}}".repeat(1_000),
        "system_prompt": "{{description}}".repeat(1_000),
    }));
    let text = composed(&persona).messages[0]["content"]
        .as_str()
        .unwrap()
        .len();
    assert!(text < 3 << 20, "{text}");
    let persona = of(json!({"name": "A", "description": "{{".repeat(1_000_000)}));
    assert!(persona.findings().is_empty());
    composed(&persona);
}

#[test]
fn what_looks_like_a_page_stays_text() {
    let html = "<script>alert('{{user}}')</script>";
    let persona = of(json!({"name": "<b>A</b>", "description": html, "first_mes": html}));
    assert_eq!(persona.id(), "b-a-b");
    assert_eq!(persona.greetings("Eve"), ["<script>alert('Eve')</script>"]);
    let told = composed(&persona).messages[0].to_string();
    assert!(told.contains("<script>alert('Robin')</script>"));
}

#[test]
fn archives_whose_files_lie_on_each_other_are_not_written_anew() {
    // Every entry of the list points at the same bytes.
    let asset = vec![7; 200_000];
    let whole = archive(&[
        ("card.json", br#"{"name": "A"}"#),
        ("a", &random(&asset)),
        ("b", b""),
    ]);
    let list = whole
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .unwrap();
    let entry_of = |name: u8| {
        let at = whole[list..]
            .windows(48)
            .position(|window| window.starts_with(b"PK\x01\x02") && window[46] == name);
        list + at.unwrap()
    };
    let (of_a, of_b) = (entry_of(b'a'), entry_of(b'b'));
    let mut file = whole.clone();
    file[of_b + 10..of_b + 46].copy_from_slice(&whole[of_a + 10..of_a + 46]);
    let error = Persona::read(&file, "")
        .and_then(|persona| persona.to_charx())
        .unwrap_err();
    assert!(matches!(error, PersonaError::Charx { .. }), "{error}");
}

/// Bytes that do not shrink.
fn random(bytes: &[u8]) -> Vec<u8> {
    let mut state: u32 = 1;
    let next = |byte: &u8| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        byte ^ (state >> 24) as u8
    };
    bytes.iter().map(next).collect()
}

#[test]
fn only_so_much_is_looked_through_and_looked_for() {
    let filler = "x".repeat(60_000);
    let entries = json!([
        {"keys": ["key"], "content": "E"}, {"keys": ["y".repeat(257)], "content": "F"},
    ]);
    let persona =
        of(json!({"name": "A", "character_book": {"scan_depth": 500, "entries": entries}}));
    let talk = |distance: usize| {
        let mut talk = vec![
            says("user", &format!("{filler} key")),
            says("user", &"y".repeat(300)),
        ];
        talk.extend(vec![says("user", &filler); distance]);
        persona.compose(&scene(&talk)).unwrap().book_entries
    };
    assert_eq!((talk(4), talk(5)), (1, 0));
    let finding = persona.findings()[0].to_string();
    assert!(
        finding.contains("257 bytes") && finding.len() < 250,
        "{finding}"
    );
    let stops = vec!["s"; 65];
    let card = card(json!({"name": "A", "extensions": {"matou": {"stop": stops}}}));
    let error = refused(card.to_string().as_bytes());
    assert!(
        error
            .to_string()
            .contains("`data.extensions.matou.stop` has 65"),
        "{error}"
    );
}

#[test]
fn a_persona_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Persona>();
}
