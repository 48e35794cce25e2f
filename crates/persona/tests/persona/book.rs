//! Which entries a conversation calls for, beyond what the snapshots show.

use std::cell::Cell;

use matou_persona::{Persona, Scene};
use serde_json::{Value, json};

use crate::cards::{of, says, scene};

fn with_book(book: Value) -> Persona {
    of(json!({"name": "Ada", "system_prompt": "S", "character_book": book}))
}

/// The entries' texts that the prompt of these messages has.
fn used(persona: &Persona, messages: &[Value]) -> Vec<String> {
    let made = persona.compose(&scene(messages)).unwrap();
    let head = made.messages[0]["content"].as_str().unwrap().to_owned();
    let used: Vec<String> = head.split("\n\n").skip(1).map(str::to_owned).collect();
    assert_eq!(used.len(), made.book_entries);
    used
}

#[test]
fn only_the_last_messages_are_looked_through() {
    let book = |depth: Value| {
        with_book(json!({"scan_depth": depth, "entries": [{"keys": ["key"], "content": "E"}]}))
    };
    let talk = [
        says("user", "a key"),
        says("assistant", "1"),
        says("user", "2"),
        says("assistant", "3"),
        says("user", "4"),
    ];
    assert!(used(&book(json!(4)), &talk).is_empty());
    assert_eq!(used(&book(json!(5)), &talk), ["E"]);
    assert!(used(&book(json!(null)), &talk).is_empty());
    assert_eq!(used(&book(json!(null)), &talk[..4]), ["E"]);
    assert!(used(&book(json!(0)), &talk[..1]).is_empty());
}

#[test]
fn what_tools_and_systems_say_calls_for_nothing() {
    let persona = with_book(json!({"entries": [{"keys": ["key"], "content": "E"}]}));
    let talk = [
        says("user", "Q"),
        says("system", "a key"),
        says("tool", "a key"),
        says("user", "R"),
    ];
    assert!(used(&persona, &talk).is_empty());
}

#[test]
fn greetings_are_looked_through_with_their_hidden_keys() {
    let persona = of(
        json!({"name": "Ada", "system_prompt": "S", "first_mes": "Welcome.{{hidden_key:key}}",
        "character_book": {"entries": [{"keys": ["key"], "content": "E"}, {"keys": ["welcome"], "content": "F"}]}}),
    );
    assert_eq!(used(&persona, &[says("user", "Q")]), ["E", "F"]);
}

#[test]
fn letters_of_all_scripts_are_compared_in_lower_case() {
    let persona = with_book(json!({"entries": [
        {"keys": ["ÄRGER"], "content": "E"}, {"keys": ["МОРЕ"], "content": "F"},
        {"keys": ["Море"], "content": "G", "case_sensitive": true},
    ]}));
    assert_eq!(used(&persona, &[says("user", "ärger am море")]), ["E", "F"]);
    assert_eq!(used(&persona, &[says("user", "Море")]), ["F", "G"]);
}

#[test]
fn plain_keys_match_inside_words() {
    let persona = with_book(json!({"entries": [{"keys": ["art"], "content": "E"}]}));
    assert_eq!(used(&persona, &[says("user", "a party")]), ["E"]);
}

#[test]
fn entries_are_dropped_by_priority_then_by_order() {
    let entry = |content: &str, order: i32, priority: i32| json!({"keys": [], "constant": true, "content": content, "insertion_order": order, "priority": priority});
    let entries = json!([
        entry("a a", 4, 1),
        entry("b b", 3, 1),
        entry("c c", 2, 0),
        entry("d d", 1, 0),
        entry("e e", 1, 0)
    ]);
    for (budget, expected) in [
        (10, vec!["d d", "e e", "c c", "b b", "a a"]),
        (9, vec!["d d", "e e", "b b", "a a"]),
        (6, vec!["d d", "b b", "a a"]),
        (3, vec!["b b"]),
        (1, vec![]),
        (0, vec![]),
    ] {
        let persona = with_book(json!({"token_budget": budget, "entries": entries}));
        assert_eq!(used(&persona, &[says("user", "Q")]), expected, "{budget}");
    }
}

#[test]
fn a_book_that_calls_itself_ends() {
    let entries: Vec<Value> = (0..50)
        .map(|index| {
            let (this, next) = (format!("<{index}>"), format!("<{}>", (index + 1) % 50));
            json!({"keys": [this], "content": next})
        })
        .collect();
    let persona = with_book(json!({"recursive_scanning": true, "entries": entries}));
    assert_eq!(
        used(&persona, &[says("user", "<48>")]),
        ["<1>", "<2>", "<3>", "<49>", "<0>"]
    );
    let once = with_book(json!({"recursive_scanning": false, "entries": entries}));
    assert_eq!(used(&once, &[says("user", "<48>")]), ["<49>"]);
}

#[test]
fn messages_are_looked_through_from_their_end() {
    let persona = with_book(json!({"entries": [{"keys": ["key"], "content": "E"}]}));
    let filler = "é".repeat(40_000);
    assert!(used(&persona, &[says("user", &format!("key{filler}"))]).is_empty());
    assert_eq!(
        used(&persona, &[says("user", &format!("{filler}key"))]),
        ["E"]
    );
}

#[test]
fn tokens_are_counted_once_an_entry_that_counts() {
    let entries: Vec<Value> = (0..10_000)
        .map(|index| json!({"keys": [format!("key{index}."), format!("/no{}/", index % 3)], "content": format!("E{index}")}))
        .collect();
    let persona = with_book(json!({"entries": entries}));
    let counted = Cell::new(0);
    let count = |_: &str| {
        counted.set(counted.get() + 1);
        1
    };
    let talk = [
        says("user", "key7. and key9999."),
        says("assistant", "key12."),
        says("user", "key1234."),
    ];
    let made = persona
        .compose(&Scene {
            count_tokens: &count,
            ..scene(&talk)
        })
        .unwrap();
    assert_eq!((made.book_entries, counted.get()), (4, 4));
}

#[test]
fn keys_can_name_the_character_and_not_the_user() {
    let persona = with_book(json!({"entries": [
        {"keys": ["dear {{char}}"], "content": "E"},
        {"keys": ["dear {{User}}", "<USER>", "{{// nothing}}"], "content": "F"},
    ]}));
    assert_eq!(
        used(&persona, &[says("user", "Dear Ada, dear User")]),
        ["E"]
    );
    let findings: Vec<String> = persona.findings().iter().map(ToString::to_string).collect();
    let of = |key: &str, why: &str| {
        format!("data.character_book.entries[1].keys: the key `{key}` {why}: it is never found")
    };
    let user = "names the user, who is another one in each conversation";
    let expected = [
        of("dear {{User}}", user),
        of("<USER>", user),
        of("{{// nothing}}", "says nothing"),
    ];
    assert_eq!(findings, expected);
}
