//! Anthropic's Messages API.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::snapshot::assert_recorded;
use crate::spelling::{HERMES, PLAIN, THINKING, saying};
use crate::support::{Reply, city, server, with};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
fn count_from_ten(fields: Value) -> Value {
    let messages = json!([{"role": "user", "content": " t10"}]);
    with(
        json!({"model": "counter", "messages": messages, "max_tokens": 3}),
        fields,
    )
}

fn weather(fields: Value) -> Value {
    let tool = json!({"name": "weather", "description": "tells it", "input_schema": city()});
    let messages = json!([{"role": "user", "content": "?"}]);
    with(
        json!({"messages": messages, "max_tokens": 300, "tools": [tool]}),
        fields,
    )
}

fn error(reply: &Reply) -> (u16, String, String) {
    let json = reply.json();
    assert_eq!(json["type"], "error", "{json}");
    assert_eq!(json["request_id"], "test");
    let text = |field: &str| json["error"][field].as_str().unwrap().to_owned();
    (reply.status.as_u16(), text("type"), text("message"))
}

#[tokio::test]
async fn a_whole_answer_has_anthropics_shape() {
    let reply = server().post(MESSAGES, &count_from_ten(json!({}))).await;
    let expected = json!({
        "id": "msg_test",
        "type": "message",
        "role": "assistant",
        "model": "counter",
        "content": [{"type": "text", "text": " t11 t12 t13"}],
        "stop_reason": "max_tokens",
        "stop_sequence": null,
        "usage": {"input_tokens": 1, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 3},
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.headers["request-id"], "test");
}

#[tokio::test]
async fn an_answer_says_why_it_ended() {
    let server = server();
    let stopped = count_from_ten(json!({"stop_sequences": ["t13"], "max_tokens": 9}));
    let answer = server.post(MESSAGES, &stopped).await.json();
    assert_eq!(answer["stop_reason"], "stop_sequence");
    assert_eq!(answer["stop_sequence"], "t13");
    assert_eq!(answer["content"][0]["text"], " t11 t12 ");
    let to_the_end = json!({"messages": [{"role": "user", "content": " t125"}], "max_tokens": 9});
    let answer = server.post(MESSAGES, &to_the_end).await.json();
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );
}

#[tokio::test]
async fn an_answer_that_has_begun_is_continued() {
    let messages = json!([
        {"role": "user", "content": " t10"},
        {"role": "assistant", "content": [{"type": "text", "text": " t20"}]},
    ]);
    let answer = server()
        .post(MESSAGES, &json!({"messages": messages, "max_tokens": 1}))
        .await
        .json();
    assert_eq!(answer["content"][0]["text"], " t21");
}

#[tokio::test]
async fn a_stream_is_recorded() {
    let reply = server()
        .post(MESSAGES, &count_from_ten(json!({"stream": true})))
        .await;
    assert_eq!(
        reply.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert_recorded("anthropic-text", &reply);
}

#[tokio::test]
async fn a_stream_with_calls_is_recorded() {
    let reply =
        "So. <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>";
    let reply = saying(reply, HERMES)
        .post(MESSAGES, &weather(json!({"stream": true})))
        .await;
    assert_recorded("anthropic-calls", &reply);
}

#[tokio::test]
async fn a_stream_with_thoughts_is_recorded() {
    let request = weather(json!({"stream": true, "tools": [], "thinking": {"type": "adaptive"}}));
    let reply = saying("Hm.</think>Yes.", THINKING)
        .post(MESSAGES, &request)
        .await;
    assert_recorded("anthropic-thoughts", &reply);
}

#[tokio::test]
async fn no_more_is_thought_than_the_budget() {
    // A model that never comes to an end by itself.
    let server = saying(&"x".repeat(5000), THINKING);
    let mut request = weather(json!({
        "tools": [], "max_tokens": 1100, "thinking": {"type": "enabled", "budget_tokens": 1024},
    }));
    let answer = server.post(MESSAGES, &request).await.json();
    let rest = 1100 - 1024 - "</think>".len();
    let expected = json!([
        {"type": "thinking", "thinking": "x".repeat(1024), "signature": ""},
        {"type": "text", "text": "x".repeat(rest)},
    ]);
    assert_eq!(answer["content"], expected);
    // Thinking without a budget goes on until it is cut.
    request["thinking"] = json!({"type": "adaptive"});
    let answer = server.post(MESSAGES, &request).await.json();
    assert_eq!(answer["content"][0]["thinking"], "x".repeat(1100));
}

#[tokio::test]
async fn nothing_is_thought_unless_asked_for() {
    let request = weather(json!({"tools": []}));
    let answer = saying("Yes.", THINKING)
        .post(MESSAGES, &request)
        .await
        .json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": "Yes."}]));
}

#[tokio::test]
async fn each_tool_choice_is_obeyed() {
    let said = |choice: Value| async move {
        let request = weather(json!({"tool_choice": choice}));
        saying("I would rather not.", PLAIN)
            .post(MESSAGES, &request)
            .await
            .json()
    };
    for choice in [
        json!({"type": "any"}),
        json!({"type": "tool", "name": "weather"}),
    ] {
        let answer = said(choice).await;
        assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
        let call = &answer["content"][0];
        assert_eq!(
            (&call["type"], &call["name"]),
            (&json!("tool_use"), &json!("weather"))
        );
        assert!(
            ["Ulm", "Kiel"].contains(&call["input"]["city"].as_str().unwrap()),
            "{answer}"
        );
    }
    for choice in [json!({"type": "auto"}), json!({"type": "none"})] {
        let answer = said(choice).await;
        assert_eq!(
            answer["content"][0]["text"], "I would rather not.",
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_history_with_calls_is_what_the_template_reads() {
    let messages = json!([
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "c"},
            {"type": "tool_use", "id": "x", "name": "weather", "input": {"city": "Ulm"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "d"}]},
            {"type": "text", "text": "e"},
        ]},
    ]);
    let server = saying("f", HERMES);
    let request = json!({"messages": messages, "system": [{"type": "text", "text": "s"}]});
    let counted = server.post(COUNT, &request).await.json();
    let expected = "<system>s<user>a\n\nb<assistant>c<tool_call>{\"name\": \"weather\", \
                    \"arguments\": {\"city\": \"Ulm\"}}</tool_call><tool>d<user>e<assistant>";
    let text = json!({"prompt": expected, "add_special_tokens": false});
    let count = server.post("/tokenize", &text).await.json()["count"].clone();
    assert_eq!(counted["input_tokens"], count);
}

#[tokio::test]
async fn output_follows_its_schema() {
    let schema = json!({"type": "object", "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"], "additionalProperties": false});
    let config = json!({"format": {"type": "json_schema", "schema": schema}});
    let request = weather(json!({"tools": [], "output_config": config}));
    let answer = saying("no", PLAIN).post(MESSAGES, &request).await.json();
    let text = answer["content"][0]["text"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!([1, 2].contains(&value["n"].as_i64().unwrap()));
}

#[tokio::test]
async fn effort_reaches_the_template() {
    let server = saying("x", "{{ reasoning_effort | default('') }}.");
    // A byte a token: the length of the word, and that of the full stop.
    for (fields, expected) in [
        (json!({}), "none"),
        (json!({"output_config": {"effort": "high"}}), "none"),
        (json!({"thinking": {"type": "adaptive"}}), ""),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
            "medium",
        ),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
            "xhigh",
        ),
    ] {
        let request = count_from_ten(with(json!({"model": null}), fields));
        let count = server.post(COUNT, &request).await.json();
        assert_eq!(count["input_tokens"], expected.len() + 1, "{request}");
        let whole = server.post(MESSAGES, &request).await.json();
        assert_eq!(whole["usage"]["input_tokens"], expected.len() + 1);
    }
}

#[tokio::test]
async fn errors_have_anthropics_shape() {
    let server = server();
    let cases = [
        (json!({"max_tokens": null}), "`max_tokens` is missing"),
        (json!({"max_tokens": "many"}), "`max_tokens`"),
        (json!({"messages": []}), "at least one message"),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "user, assistant or system",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "`messages[0].content` is missing",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            "of type \"image\"",
        ),
        (json!({"temperature": 1.5}), "between 0 and 1"),
        (
            json!({"tools": [{"name": "x"}]}),
            "`tools[0].input_schema` is missing",
        ),
        (json!({"tool_choice": {"type": "any"}}), "demands a call"),
        (
            json!({
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            }),
            "demands a call of web_search",
        ),
        (
            json!({"tool_choice": {"type": "maybe"}}),
            "auto, any, tool or none",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 0}}),
            "at least 1",
        ),
        (
            json!({"thinking": {"type": "enabled"}}),
            "`thinking.budget_tokens` is missing",
        ),
        (json!({"service_tier": "gold"}), "standard_only"),
        (
            json!({"messages": [{"role": "user", "content": " t10".repeat(5000)}]}),
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            json!({"output_config": {"effort": "some"}}),
            "low, medium, high, xhigh, max",
        ),
    ];
    for (fields, expected) in cases {
        let reply = server.post(MESSAGES, &count_from_ten(fields.clone())).await;
        let (status, kind, message) = error(&reply);
        assert_eq!(
            (status, kind.as_str()),
            (400, "invalid_request_error"),
            "{fields}"
        );
        assert!(message.contains(expected), "{fields}: {message}");
    }
    let other = count_from_ten(json!({"model": "other"}));
    assert_eq!(
        error(&server.post(MESSAGES, &other).await).1,
        "not_found_error"
    );
    let get = Request::get(MESSAGES).header("x-request-id", "test");
    let reply = server.send(get.body(Body::empty()).unwrap()).await;
    assert_eq!(error(&reply).0, 405);
}

#[tokio::test]
async fn what_fails_late_is_an_error_event() {
    let request = count_from_ten(json!({
        "messages": [{"role": "user", "content": " t97"}], "stream": true}));
    let reply = server().post(MESSAGES, &request).await;
    assert!(
        reply
            .text
            .contains("event: error\ndata: {\"type\":\"error\""),
        "{}",
        reply.text
    );
    assert!(!reply.text.contains("message_stop"));
}

#[tokio::test]
async fn models_have_anthropics_shape_for_its_clients() {
    let server = server();
    let get = async |path: &str| {
        let request = Request::get(path).header("anthropic-version", "2023-06-01");
        let request = request.header("x-request-id", "test");
        server.send(request.body(Body::empty()).unwrap()).await
    };
    let page = get("/v1/models").await.json();
    let alias = json!({
        "type": "model",
        "id": "org/alias",
        "display_name": "org/alias",
        "created_at": "2020-09-13T12:26:40Z",
        "lifecycle": "active",
        "max_input_tokens": 4096,
        "max_tokens": 4096,
    });
    assert_eq!(page["data"][1], alias);
    assert_eq!(
        (&page["has_more"], &page["first_id"], &page["last_id"]),
        (&json!(false), &json!("counter"), &json!("org/alias"))
    );
    assert_eq!(get("/v1/models/org/alias").await.json(), alias);
    // Page by page, in both directions.
    let cases = [
        ("limit=1", json!(["counter"]), true),
        ("limit=1&after_id=counter", json!(["org/alias"]), false),
        ("after_id=org/alias", json!([]), false),
        ("limit=1&before_id=org/alias", json!(["counter"]), false),
        ("before_id=counter", json!([]), false),
    ];
    for (query, ids, has_more) in cases {
        let page = get(&format!("/v1/models?{query}")).await.json();
        let found = page["data"].as_array().unwrap().iter();
        let found: Vec<&Value> = found.map(|model| &model["id"]).collect();
        assert_eq!(json!(found), ids, "{query}");
        assert_eq!(page["has_more"], has_more, "{query}");
    }
    for query in ["limit=0", "limit=x", "after_id=none"] {
        let reply = get(&format!("/v1/models?{query}")).await;
        assert_eq!(error(&reply).0, 400, "{query}");
    }
    let (status, kind, _) = error(&get("/v1/models/none").await);
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
}
