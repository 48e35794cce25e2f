//! Whatever the bytes and whatever the values: an answer, never a panic.

use matou_persona::{Persona, Scene};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::builders::{archive, base64, png, text};
use crate::cards::{says, scene};

/// Texts with something in them that means something.
fn prose() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{{",
        "}}",
        "{{char}}",
        "{{user}}",
        "{{description}}",
        "{{personality}}",
        "{{scenario}}",
        "{{original}}",
        "{{random:a,",
        "{{roll:d",
        "6}}",
        "{{trim}}",
        "{{hidden_key:a}}",
        "{{reverse:",
        "{{//",
        "<START>",
        "<user>",
        "@@depth ",
        "@@role user",
        "@@position scenario",
        "@@@depth 1",
        "@@activate",
        "@@additional_keys a",
        "@@",
        "\n",
        "\r\n",
        "é",
        "猫",
        "a",
        " ",
        ",",
        "::",
        "-1",
        "9999999999999999999",
        "/a+/",
        "(",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prose().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly what belongs there, now and then anything.
fn mostly(right: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![20 => right, 1 => anything(), 2 => Just(Value::Null)]
}

fn string() -> impl Strategy<Value = Value> {
    mostly(prose().prop_map(Value::from))
}

fn strings() -> impl Strategy<Value = Value> {
    mostly(prop::collection::vec(prose(), 0..4).prop_map(Value::from))
}

fn flag() -> impl Strategy<Value = Value> {
    mostly(any::<bool>().prop_map(Value::from))
}

fn number() -> impl Strategy<Value = Value> {
    mostly(prop_oneof![
        (-3..12_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from)
    ])
}

fn entry() -> impl Strategy<Value = Value> {
    let first = (
        strings(),
        strings(),
        string(),
        flag(),
        flag(),
        flag(),
        flag(),
        flag(),
    );
    let second = (number(), number(), number(), number(), number(), number());
    (first, second).prop_map(|(first, second)| {
        let (keys, secondary, content, constant, selective, sensitive, regex, recursion) = first;
        let (order, priority, position, depth, role, scan_depth) = second;
        json!({
            "keys": keys, "secondary_keys": secondary, "content": content, "constant": constant,
            "selective": selective, "case_sensitive": sensitive, "use_regex": regex,
            "insertion_order": order, "priority": priority,
            "extensions": {"position": position, "depth": depth, "role": role, "scan_depth": scan_depth,
                "prevent_recursion": recursion},
        })
    })
}

fn any_card() -> impl Strategy<Value = Value> {
    let texts = prop::collection::vec(string(), 9);
    let entries = prop::collection::vec(entry(), 0..5);
    (texts, strings(), strings(), entries, (number(), number(), flag()), anything(), 0..3).prop_map(
        |(texts, greetings, stop, entries, (scan_depth, budget, recursive), other, version)| {
            let data = json!({
                "name": format!("N{}", texts[0].as_str().unwrap_or_default().replace(char::is_control, "")),
                "description": texts[1], "personality": texts[2], "scenario": texts[3], "first_mes": texts[4],
                "mes_example": texts[5], "system_prompt": texts[6], "post_history_instructions": texts[7],
                "creator_notes": texts[8], "alternate_greetings": greetings, "other": other,
                "extensions": {"other": other, "matou": {"stop": stop}},
                "character_book": {"scan_depth": scan_depth, "token_budget": budget,
                    "recursive_scanning": recursive, "entries": entries},
            });
            match version {
                0 => data,
                1 => json!({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}),
                _ => json!({"spec": "chara_card_v3", "spec_version": "3.0", "data": data}),
            }
        },
    )
}

/// Everything that can be done with a persona.
fn exercise(persona: &Persona, talk: &[Value]) {
    let made = persona.compose(&scene(talk)).unwrap();
    assert_eq!(made, persona.compose(&scene(talk)).unwrap());
    let continued = Scene {
        continues: true,
        greeting: 1,
        ..scene(talk)
    };
    let _ = persona.compose(&continued);
    assert!(persona.findings().len() <= 1_000);
    serde_json::to_string(&persona.profile()).unwrap();
    let files = [
        persona.to_json().into_bytes(),
        persona.to_png(None).unwrap(),
        persona.to_charx().unwrap(),
        persona.to_toml().unwrap().into_bytes(),
    ];
    for file in files {
        let again = Persona::read(&file, "card").unwrap();
        assert_eq!(again.compose(&scene(talk)).unwrap(), made);
    }
    Persona::read(persona.to_json_v2().as_bytes(), "").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_card_is_read_or_refused(card in any_card(), said in prop::collection::vec(prose(), 1..4)) {
        let talk: Vec<Value> = said.iter().zip(["user", "assistant", "user"]).map(|(text, role)| says(role, text)).collect();
        if let Ok(persona) = Persona::read(card.to_string().as_bytes(), "card.json") {
            exercise(&persona, &talk);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), begin in 0..6, name in "[a.]{0,4}(toml)?") {
        let json = br#"{"name": "A", "first_mes": "Hi"}"#;
        let mut file = match begin {
            0 => Vec::new(),
            1 => b"\x89PNG\r\n\x1a\n".to_vec(),
            2 => b"PK\x03\x04".to_vec(),
            3 => b"{\"name\":".to_vec(),
            4 => png(&[text("ccv3", &base64(json))]),
            _ => archive(&[("card.json", json)]),
        };
        // Whole files are damaged, the beginnings of others go on.
        if begin >= 4 {
            for pair in bytes.chunks_exact(2).take(3) {
                let at = (usize::from(pair[0]) * 7 + bytes.len()) % file.len();
                file[at] ^= pair[1];
            }
        } else {
            file.extend(&bytes);
        }
        if let Ok(persona) = Persona::read(&file, &name) {
            persona.findings();
            let _ = (persona.picture(), persona.to_png(None), persona.to_charx(), persona.to_toml());
        }
    }

    #[test]
    fn any_json_is_read_or_refused(value in anything()) {
        let _ = Persona::read(value.to_string().as_bytes(), "card.json");
        let inside = json!({"name": "A", "extensions": value, "character_book": value, "tags": value});
        let _ = Persona::read(inside.to_string().as_bytes(), "card.json");
    }
}
