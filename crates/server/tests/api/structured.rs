//! Answers that follow a grammar, asked for in every way there is.

use serde_json::{Value, json};

use crate::spelling::{PLAIN, saying};
use crate::support::END;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn chat(fields: Value) -> Value {
    let mut request = json!({"messages": [{"role": "user", "content": "?"}], "max_tokens": 200});
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    request.as_object_mut().unwrap().extend(fields);
    request
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"enum": ["Ann", "Bob"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
        },
        "required": ["name", "age"],
        "additionalProperties": false,
    })
}

/// What a model that wants to say `reply` says under `fields`.
async fn said(reply: &str, fields: Value) -> (String, Value) {
    let answer = saying(reply, PLAIN).post(CHAT, &chat(fields)).await.json();
    let choice = &answer["choices"][0];
    let text = choice["message"]["content"].as_str();
    (
        text.unwrap_or_else(|| panic!("{answer}")).to_owned(),
        choice["finish_reason"].clone(),
    )
}

#[tokio::test]
async fn response_format_json_schema_is_enforced_by_a_grammar() {
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {
        "name": "person", "strict": true, "schema": person(),
    }}});
    for reply in ["I am Bob.", r#"{"name": "Eve", "age": "old"}"#] {
        let (text, finish_reason) = said(reply, format.clone()).await;
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(
            ["Ann", "Bob"].contains(&value["name"].as_str().unwrap()),
            "{text}"
        );
        assert!(
            (0..=120).contains(&value["age"].as_i64().unwrap()),
            "{text}"
        );
        assert_eq!(finish_reason, "stop");
    }
    let wanted = r#"{"name": "Bob", "age": 42}"#;
    assert_eq!(said(wanted, format).await.0, wanted);
}

#[tokio::test]
async fn response_format_names_the_schema_feature_that_is_not_supported() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": true}}});
    let server = saying("x", PLAIN);
    let request = chat(json!({"response_format": {
        "type": "json_schema", "json_schema": {"name": "s", "schema": schema},
    }}));
    let (status, param, _, message) = server.post(CHAT, &request).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("response_format")));
    assert!(
        message.contains("`uniqueItems`") && message.contains("$.properties.a"),
        "{message}"
    );
}

#[tokio::test]
async fn response_format_json_object_gives_an_object() {
    let format = json!({"response_format": {"type": "json_object"}});
    let wanted = r#"{"free": [1, 2]}"#;
    assert_eq!(said(wanted, format.clone()).await.0, wanted);
    let (text, _) = said("no", format).await;
    assert!(text.starts_with('{'), "{text}");
    assert_eq!(
        said("no", json!({"response_format": {"type": "text"}}))
            .await
            .0,
        "no"
    );
}

#[tokio::test]
async fn every_name_of_a_grammar_is_obeyed() {
    let gbnf = "root ::= \"yes\" | \"maybe\"";
    let lark = "start: \"yes\" | \"maybe\"";
    let schema = json!({"enum": ["yes", "maybe"]});
    for (fields, expected) in [
        (json!({"guided_choice": ["yes", "maybe"]}), ["yes", "maybe"]),
        (json!({"guided_regex": "yes|maybe"}), ["yes", "maybe"]),
        (json!({"guided_grammar": gbnf}), ["yes", "maybe"]),
        (json!({"guided_grammar": lark}), ["yes", "maybe"]),
        (json!({"grammar": gbnf}), ["yes", "maybe"]),
        (json!({"guided_json": schema}), ["\"yes\"", "\"maybe\""]),
        (
            json!({"guided_json": schema.to_string()}),
            ["\"yes\"", "\"maybe\""],
        ),
        (json!({"json_schema": schema}), ["\"yes\"", "\"maybe\""]),
        (
            json!({"structured_outputs": {"choice": ["yes", "maybe"]}}),
            ["yes", "maybe"],
        ),
        (
            json!({"structured_outputs": {"regex": "yes|maybe"}}),
            ["yes", "maybe"],
        ),
        (
            json!({"structured_outputs": {"grammar": lark}}),
            ["yes", "maybe"],
        ),
        (
            json!({"structured_outputs": {"json": schema}}),
            ["\"yes\"", "\"maybe\""],
        ),
    ] {
        let (text, finish_reason) = said("no", fields.clone()).await;
        assert!(expected.contains(&text.as_str()), "{fields}: {text}");
        assert_eq!(finish_reason, "stop", "{fields}");
    }
}

#[tokio::test]
async fn completions_follow_grammars_too() {
    let request =
        json!({"prompt": ["a", "b"], "n": 2, "guided_choice": ["yes", "maybe"], "max_tokens": 9});
    let answer = saying("no", PLAIN).post(COMPLETIONS, &request).await.json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    for choice in choices {
        assert!(
            ["yes", "maybe"].contains(&choice["text"].as_str().unwrap()),
            "{choice}"
        );
    }
}

#[tokio::test]
async fn a_stream_follows_its_grammar() {
    let request = chat(json!({"guided_choice": ["yes", "maybe"], "stream": true}));
    let chunks = saying("no", PLAIN).post(CHAT, &request).await.chunks();
    let deltas = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["content"]);
    let text: String = deltas.filter_map(Value::as_str).collect();
    assert!(["yes", "maybe"].contains(&text.as_str()), "{text}");
}

#[tokio::test]
async fn what_cannot_be_a_grammar_is_refused_by_the_name_of_its_field() {
    let server = saying("x", PLAIN);
    for (fields, param) in [
        (json!({"guided_regex": "("}), "guided_regex"),
        (
            json!({"guided_grammar": "root ::= missing"}),
            "guided_grammar",
        ),
        (json!({"guided_choice": []}), "guided_choice"),
        (json!({"guided_choice": "yes"}), "guided_choice"),
        (json!({"guided_json": "{"}), "guided_json"),
        (
            json!({"structured_outputs": {"json": {"type": "strange"}}}),
            "structured_outputs",
        ),
        (
            json!({"structured_outputs": {"structural_tag": {}}}),
            "structured_outputs.structural_tag",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.json_schema.schema",
        ),
        (json!({"response_format": "json"}), "response_format"),
        (
            json!({"guided_regex": "a", "guided_choice": ["b"]}),
            "guided_choice",
        ),
    ] {
        let (status, named, _, message) = server.post(CHAT, &chat(fields)).await.error();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{message}");
    }
}

#[tokio::test]
async fn a_request_that_leaves_no_token_to_choose_is_told_why() {
    let server = saying("no", PLAIN);
    let id = |letter: u8| 3 + u32::from(letter);
    let (a, b) = (id(b'a'), id(b'b'));
    for (fields, param, expected) in [
        (
            json!({"allowed_token_ids": [a], "bad_words": ["a"]}),
            "allowed_token_ids",
            "with `bad_words`, every token after 0",
        ),
        (
            json!({"allowed_token_ids": [a], "bad_words": ["aaa"]}),
            "allowed_token_ids",
            "with `bad_words`, every token after 2",
        ),
        (
            json!({"allowed_token_ids": [END], "min_tokens": 3}),
            "allowed_token_ids",
            "with `min_tokens`, every token after 0",
        ),
        (
            json!({"allowed_token_ids": [a], "guided_regex": "aab"}),
            "allowed_token_ids",
            "the grammar can go on after 2",
        ),
        (
            json!({"bad_words": ["b"], "guided_regex": "ab"}),
            "bad_words",
            "the grammar can go on after 1",
        ),
    ] {
        let (status, named, _, message) = server.post(CHAT, &chat(fields)).await.error();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    // What has begun ends in an error that says the same.
    let fields = json!({"allowed_token_ids": [a], "guided_regex": "ab", "stream": true});
    let reply = server.post(CHAT, &chat(fields)).await;
    assert!(reply.text.contains("\"content\":\"a\""), "{}", reply.text);
    assert!(
        reply.text.contains("\"type\":\"invalid_request_error\""),
        "{}",
        reply.text
    );
    let fields = json!({"allowed_token_ids": [a, b], "guided_regex": "ab"});
    assert_eq!(said("no", fields).await.0, "ab");
}

#[tokio::test]
async fn what_is_complete_before_it_has_begun_ends_whatever_else_is_asked_for() {
    for fields in [
        json!({"guided_regex": "", "min_tokens": 3}),
        json!({"guided_choice": [""], "allowed_token_ids": [70], "ignore_eos": true}),
    ] {
        let (text, finish_reason) = said("no", fields).await;
        assert_eq!((text.as_str(), finish_reason), ("", json!("stop")));
    }
}
