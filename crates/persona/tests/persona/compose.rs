//! Conversations of all shapes.

use matou_persona::{ComposeError, Scene};
use serde_json::{Value, json};

use crate::cards::{composed, messages, of, read, says, scene, words};

fn plain() -> matou_persona::Persona {
    of(
        json!({"name": "Ada", "system_prompt": "S", "first_mes": "Hi {{user}}.",
        "alternate_greetings": ["Ho."], "post_history_instructions": "P"}),
    )
}

#[test]
fn the_greeting_comes_first_unless_the_client_showed_one() {
    let asks = says("user", "Q");
    assert_eq!(
        messages(&plain(), std::slice::from_ref(&asks)).unwrap(),
        json!([
            says("system", "S"),
            says("assistant", "Hi User."),
            says("user", "Q\n\nP")
        ])
    );
    assert_eq!(
        messages(&plain(), &[says("assistant", "Mine."), asks.clone()]).unwrap(),
        json!([
            says("system", "S"),
            says("assistant", "Mine."),
            says("user", "Q\n\nP")
        ])
    );
    let asked = [asks];
    let second = Scene {
        greeting: 1,
        ..scene(&asked)
    };
    assert_eq!(
        plain().compose(&second).unwrap().messages[1],
        says("assistant", "Ho.")
    );
    assert_eq!(
        messages(&plain(), &[]).unwrap(),
        json!([says("system", "S"), says("system", "P")])
    );
}

#[test]
fn a_greeting_that_is_not_there_is_an_error() {
    let asks = [says("user", "Q")];
    let error = plain()
        .compose(&Scene {
            greeting: 2,
            ..scene(&asks)
        })
        .unwrap_err();
    let expected = ComposeError::Greeting {
        asked: 2,
        there_are: 2,
        persona: "ada".into(),
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "there is no greeting 2: `ada` has 2, counted from 0"
    );
    let silent = of(json!({"name": "Ada"}));
    assert_eq!(silent.compose(&scene(&asks)).unwrap().messages.len(), 2);
    assert!(
        silent
            .compose(&Scene {
                greeting: 1,
                ..scene(&asks)
            })
            .is_err()
    );
}

#[test]
fn system_messages_of_the_client_are_added_or_refused() {
    let talk = [
        says("system", "One."),
        json!({"role": "developer", "content": [{"type": "text", "text": "Two {{char}}."}]}),
        says("user", "Q {{char}}"),
        says("system", "Later."),
        says("user", "R"),
    ];
    let expected = json!([
        says("system", "S\n\nOne.\n\nTwo {{char}}."),
        says("assistant", "Hi User."),
        says("user", "Q {{char}}"),
        says("system", "Later."),
        says("user", "R\n\nP"),
    ]);
    assert_eq!(messages(&plain(), &talk).unwrap(), expected);
    let refuses =
        of(json!({"name": "Ada", "extensions": {"matou": {"system_messages": "refuse"}}}));
    for (first, index) in [(0, 0), (1, 0), (2, 1)] {
        let expected = ComposeError::SystemMessage {
            index,
            persona: "ada".into(),
        };
        assert_eq!(messages(&refuses, &talk[first..]).unwrap_err(), expected);
    }
}

#[test]
fn the_user_is_who_the_request_says_then_the_message_then_the_card() {
    let persona = of(json!({"name": "Ada", "system_prompt": "{{user}}",
        "extensions": {"matou": {"user_name": "Guest"}}}));
    let user = |asked: Option<&str>, talk: &[Value]| {
        let scene = Scene {
            user: asked,
            ..scene(talk)
        };
        persona.compose(&scene).unwrap().messages[0]["content"].clone()
    };
    let named = json!({"role": "user", "name": "Bo", "content": "Q"});
    let renamed = json!({"role": "user", "name": " Bea\n", "content": "Q"});
    assert_eq!(user(Some("Cy"), std::slice::from_ref(&named)), "Cy");
    assert_eq!(
        user(Some(" "), &[named.clone(), renamed, says("user", "Q")]),
        "Bea"
    );
    assert_eq!(user(None, &[says("user", "Q")]), "Guest");
    assert_eq!(user(Some("{{char}} <BOT>"), &[named]), "{{char}} <BOT>");
}

#[test]
fn a_message_that_is_continued_stays_the_last() {
    let talk = [says("user", "Q"), says("assistant", "Well, ")];
    let composed = plain()
        .compose(&Scene {
            continues: true,
            ..scene(&talk)
        })
        .unwrap();
    assert_eq!(
        Value::from(composed.messages[2..].to_vec()),
        json!([says("user", "Q\n\nP"), says("assistant", "Well, ")])
    );
    let finished = messages(&plain(), &talk).unwrap();
    assert_eq!(finished[4], says("system", "P"));
    let asks = [says("user", "Q")];
    let error = plain()
        .compose(&Scene {
            continues: true,
            ..scene(&asks)
        })
        .unwrap_err();
    assert_eq!(error, ComposeError::NothingToContinue);
    let none = plain()
        .compose(&Scene {
            continues: true,
            ..scene(&[])
        })
        .unwrap_err();
    assert_eq!(none, ComposeError::NothingToContinue);
}

#[test]
fn calls_of_tools_and_pictures_stay_as_they_are() {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
        "function": {"name": "f", "arguments": "{}"}}], "x": [1.5, null]});
    let result = json!({"role": "tool", "tool_call_id": "1", "content": "{{char}}"});
    let picture =
        json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]});
    let made = messages(&plain(), &[picture.clone(), call.clone(), result.clone()]).unwrap();
    assert_eq!(
        Value::from(made.as_array().unwrap()[2..5].to_vec()),
        json!([picture, call, result])
    );
    assert_eq!(made[5], says("system", "P"));
}

#[test]
fn a_message_without_a_role_is_an_error() {
    for wrong in [
        json!("text"),
        json!({"content": "x"}),
        json!({"role": 5}),
        json!(null),
    ] {
        let error = messages(&plain(), &[says("user", "Q"), wrong]).unwrap_err();
        assert_eq!(error, ComposeError::NotAMessage { index: 1 });
    }
}

#[test]
fn a_conversation_keeps_its_chances_while_it_goes_on() {
    let persona =
        of(json!({"name": "Ada", "description": "{{roll:1000000}} {{random:a,b,c,d,e,f,g,h}}"}));
    let begin = [says("user", "Q")];
    let later = [says("user", "Q"), says("assistant", "A"), says("user", "R")];
    let head = |talk: &[Value]| messages(&persona, talk).unwrap()[0].clone();
    assert_eq!(head(&begin), head(&later));
    assert_ne!(head(&begin), head(&[says("user", "Another")]));
}

#[test]
fn greetings_are_shown_as_they_will_be_said() {
    let persona = read("v2_full.json");
    let greetings = persona.greetings("Robin");
    assert_eq!(greetings[1], "You again, Robin.");
    let said = composed(&persona).messages[1]["content"].clone();
    assert_eq!(said, greetings[0].as_str());
    assert_eq!(words(&persona.greetings(" \n")[1]), 3);
    assert!(persona.profile().greetings[1].contains("User"));
}
