//! What macros come to.

use chrono::NaiveDate;

use super::choice::Seed;
use super::cycle::check;
use super::expand::{expand, expanded};
use super::values::Values;
use crate::error::PersonaError;
use crate::limits::MAX_MACRO_BYTES;

fn values() -> Values<'static> {
    Values {
        char_name: "Ada",
        user: "Bo",
        description: "{{char}} is tall.",
        personality: "kind",
        scenario: "{{description}} At sea.",
        now: NaiveDate::from_ymd_opt(2026, 3, 5)
            .unwrap()
            .and_hms_opt(15, 4, 0),
        seed: Seed::of("ada", "Hi"),
        last_message: "last {{char}}",
        last_user_message: "Hi",
        last_char_message: "Hm",
        ..Values::default()
    }
}

fn of(text: &str) -> String {
    expanded(text, "test", &values())
}

#[test]
fn names_and_fields_and_times() {
    for (text, expected) in [
        (
            "{{char}} {{User}} <USER> <bot> <Char> <b>",
            "Ada Bo Bo Ada Ada <b>",
        ),
        (
            "{{scenario}}|{{persona}}|{{noop}}",
            "Ada is tall. At sea.||",
        ),
        (
            "{{date}}, {{time}}, {{weekday}}",
            "March 5, 2026, 3:04 PM, Thursday",
        ),
        ("{{isodate}} {{isotime}}", "2026-03-05 15:04"),
        ("a{{newline}}b\n\n{{trim}}\r\n\nc", "a\nbc"),
        ("a{{// no {{char}} }}b{{comment: x}}c", "abc"),
        ("{{reverse:{{char}}é}}", "éadA"),
        (
            "{{lastMessage}}, {{lastUserMessage}}, {{lastCharMessage}}",
            "last {{char}}, Hi, Hm",
        ),
        ("one\r\ntwo\rthree", "one\ntwo\rthree"),
        (
            "{{random:only}} {{pick::only}} {{roll:d1}} {{roll:1}}",
            "only only 1 1",
        ),
    ] {
        assert_eq!(of(text), expected, "{text}");
    }
    let timeless = Values {
        now: None,
        ..values()
    };
    assert_eq!(expanded("[{{date}}]", "test", &timeless), "[]");
}

#[test]
fn what_is_no_macro_stays_and_is_told() {
    let done = expand(
        "{{gibt}} {{char {{{char}}} }} {{roll:0}} {{ {",
        "test",
        "",
        &values(),
    );
    assert_eq!(done.text, "{{gibt}} {{char {Ada} }} {{roll:0}} {{ {");
    assert_eq!(done.unknown, ["{{gibt}}", "{{char {Ada} }}", "{{roll:0}}"]);
}

#[test]
fn hidden_keys_are_only_for_the_book() {
    let done = expand("a{{hidden_key: the sea}}b", "test", "", &values());
    assert_eq!(
        (done.text.as_str(), done.hidden.as_str()),
        ("ab", "the sea\n")
    );
}

#[test]
fn choices_are_the_same_for_a_conversation_and_differ_between_places() {
    let text = "{{random:a,b,c\\,d,e}}{{random::a::b::c,d::e}}{{roll:1000000}}";
    assert_eq!(of(text), of(text));
    let other = expanded(text, "elsewhere", &values());
    assert_ne!(of(text), other);
    let another = Values {
        seed: Seed::of("ada", "Ho"),
        ..values()
    };
    assert_ne!(of(text), expanded(text, "test", &another));
    let all: std::collections::BTreeSet<String> = (0..50)
        .map(|place| expanded("{{pick:a, b\\,b}}", &place.to_string(), &values()))
        .collect();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b,b"]);
}

#[test]
fn fields_that_contain_each_other_are_an_error_that_names_them() {
    let cyclic = Values {
        personality: "{{Scenario}}",
        description: "x{{personality}}",
        ..values()
    };
    let error = check(&cyclic).unwrap_err();
    let PersonaError::Cycle { fields } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        fields.join(" "),
        "description personality scenario description"
    );
    let own = Values {
        personality: "{{personality}}",
        ..values()
    };
    assert!(check(&own).is_err());
    assert_eq!(check(&values()), Ok(()));
}

#[test]
fn hostile_text_is_neither_slow_nor_large() {
    let opened = "{{".repeat(1_000_000);
    assert_eq!(of(&opened), opened);
    let closed = format!("{opened}{}", "}}".repeat(1_000_000));
    assert!(of(&closed).len() <= closed.len());
    // A cycle that no one can see before: names of macros made by macros.
    let sly = Values {
        description: "{{{{random:descrip}}tion}}{{{{random:descrip}}tion}}",
        ..values()
    };
    assert!(expanded("{{description}}", "test", &sly).is_empty());
    let long = "x".repeat(10_000);
    let large = Values {
        personality: &long,
        ..values()
    };
    let text = "{{personality}}".repeat(10_000);
    assert!(expanded(&text, "test", &large).len() <= MAX_MACRO_BYTES);
}
