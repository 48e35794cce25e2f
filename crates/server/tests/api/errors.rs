//! The table of bad inputs and the error that each gets.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use matou_engine::EngineConfig;
use serde_json::{Value, json};

use crate::support::{server, server_with, serving};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn hello() -> Value {
    json!([{"role": "user", "content": " t10"}])
}

#[tokio::test]
async fn each_bad_body_gets_a_400_that_says_what_is_wrong() {
    let server = server();
    let cases = [
        (
            CHAT,
            "{\"messages\": [",
            None,
            "not valid JSON: EOF while parsing a list at line 1",
        ),
        (CHAT, "", None, "not valid JSON"),
        (
            CHAT,
            "messages=hi",
            None,
            "not valid JSON: expected value at line 1 column 1",
        ),
        (CHAT, "[]", None, "Invalid request"),
        (CHAT, "null", None, "Invalid request"),
        (
            CHAT,
            r#"{"messages": "hi"}"#,
            Some("messages"),
            "expected a sequence",
        ),
        (
            CHAT,
            r#"{"messages": []}"#,
            Some("messages"),
            "at least one message",
        ),
        (CHAT, "{}", Some("messages"), "at least one message"),
        (COMPLETIONS, "{}", Some("prompt"), "missing"),
        (COMPLETIONS, r#"{"prompt": ""}"#, Some("prompt"), "empty"),
        (
            COMPLETIONS,
            r#"{"prompt": [5, 128]}"#,
            Some("prompt"),
            "Token 128",
        ),
        (
            COMPLETIONS,
            r#"{"prompt": "x", "top_k": -2}"#,
            Some("top_k"),
            "at least -1",
        ),
        (
            COMPLETIONS,
            r#"{"prompt": " t5", "min_p": 2}"#,
            Some("min_p"),
            "`min_p` must be",
        ),
        (
            COMPLETIONS,
            r#"{"prompt": " t5", "stop_token_ids": [128]}"#,
            Some("stop_token_ids"),
            "128",
        ),
        ("/tokenize", "{}", Some("prompt"), "needed"),
        ("/detokenize", "{}", Some("tokens"), "missing"),
        (
            "/detokenize",
            r#"{"tokens": [1, 128]}"#,
            Some("tokens[1]"),
            "vocabulary of 128",
        ),
    ];
    for (path, body, expected_param, says) in cases {
        let (status, param, _, message) = server.post_text(path, body).await.error();
        assert_eq!(
            (status, param.as_deref()),
            (400, expected_param),
            "{body}: {message}"
        );
        assert!(message.contains(says), "{body}: {message}");
    }
}

#[tokio::test]
async fn a_negative_max_tokens_is_a_400() {
    let request = json!({"messages": hello(), "max_tokens": -5});
    let (status, param, _, message) = server().post(CHAT, &request).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("max_tokens")));
    assert_eq!(message, "`max_tokens` must be at least 1, got -5.");
}

#[tokio::test]
async fn an_unknown_model_is_a_404_that_says_what_is_served() {
    let server = server();
    let request = json!({"model": "gpt-4", "messages": hello()});
    let (status, param, code, message) = server.post(CHAT, &request).await.error();
    assert_eq!(
        (status, param.as_deref(), code.as_deref()),
        (404, Some("model"), Some("model_not_found"))
    );
    assert!(
        message.contains("gpt-4") && message.contains("counter, org/alias"),
        "{message}"
    );
    for model in [json!(""), Value::Null, json!("counter"), json!("org/alias")] {
        let request = json!({"model": model, "messages": hello(), "max_tokens": 1});
        assert_eq!(server.post(CHAT, &request).await.status, 200);
    }
}

#[tokio::test]
async fn an_unknown_route_is_a_404_and_a_wrong_method_a_405() {
    let server = server();
    let (status, _, code, message) = server.get("/v1/nothing").await.error();
    assert_eq!((status, code.as_deref()), (404, Some("unknown_url")));
    assert_eq!(message, "Unknown request URL: GET /v1/nothing.");

    let reply = server.get(CHAT).await;
    assert_eq!(reply.headers["allow"], "POST");
    let (status, _, code, _) = reply.error();
    assert_eq!(
        (status, code.as_deref()),
        (405, Some("method_not_supported"))
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let server = server_with(EngineConfig::default(), Duration::ZERO, |state| {
        state.limits.max_body_bytes = 1000;
    });
    let long = json!({"prompt": "x".repeat(2000)});
    let (status, _, code, message) = server.post(COMPLETIONS, &long).await.error();
    assert_eq!((status, code.as_deref()), (413, Some("request_too_large")));
    assert!(message.contains("1000"), "{message}");
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let body = json!({"messages": hello(), "max_tokens": 1}).to_string();
    for content_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let request = Request::post(CHAT).header("content-type", content_type);
        let reply = server()
            .send(request.body(Body::from(body.clone())).unwrap())
            .await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn a_full_queue_is_a_429_that_says_when_to_try_again() {
    let config = EngineConfig {
        max_num_seqs: 1,
        max_queue_len: 1,
        ..EngineConfig::default()
    };
    let server = server_with(config, Duration::from_millis(20), |_| {});
    let request = json!({"messages": hello(), "stream": true, "max_tokens": 100});
    // One runs (its first token is there), so that the next is the one that may wait.
    let _running = server.open(CHAT, &request).await;
    let llm = server.llm();
    let engine = llm.engine();
    let (_waiting, refused) = tokio::join!(
        async {
            let waiting = json!({"messages": hello(), "max_tokens": 1});
            server.post(CHAT, &waiting).await
        },
        async {
            while engine.stats().waiting == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            server.post(CHAT, &json!({"messages": hello()})).await
        }
    );
    let (status, _, code, message) = refused.error();
    assert_eq!(
        (status, code.as_deref()),
        (429, Some("rate_limit_exceeded"))
    );
    assert!(message.contains("queue is full"), "{message}");
    let seconds: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&seconds));
}

#[tokio::test]
async fn a_model_without_a_template_only_completes_text() {
    let server = serving(EngineConfig::default(), |model| model.template = None);
    let (status, param, _, message) = server
        .post(CHAT, &json!({"messages": hello()}))
        .await
        .error();
    assert_eq!((status, param.as_deref()), (400, Some("messages")));
    assert!(message.contains("/v1/completions"), "{message}");
    assert_eq!(
        server
            .post(COMPLETIONS, &json!({"prompt": " t5"}))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_template_that_refuses_is_a_400_in_its_own_words() {
    let server = serving(EngineConfig::default(), |model| {
        let source = "{{ raise_exception('roles must alternate') }}";
        let tokens = model.tokenizer.template_tokens();
        let template = matou_chat::ChatTemplate::new(source, tokens).unwrap();
        model.template = Some(template);
    });
    let (status, param, _, message) = server
        .post(CHAT, &json!({"messages": hello()}))
        .await
        .error();
    assert_eq!((status, param.as_deref()), (400, Some("messages")));
    assert!(message.contains("roles must alternate"), "{message}");
}

#[tokio::test]
async fn more_prompts_than_the_queue_could_take_are_a_400() {
    let config = EngineConfig {
        max_queue_len: 2,
        ..EngineConfig::default()
    };
    let server = server_with(config, Duration::ZERO, |_| {});
    let request = json!({"prompt": [[5], [6], [7]]});
    let (status, param, _, message) = server.post(COMPLETIONS, &request).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("prompt")));
    assert!(message.contains("at most 2 prompts, got 3"), "{message}");
}
