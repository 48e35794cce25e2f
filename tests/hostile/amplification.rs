//! Small requests with large consequences.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::arena::{Arena, HOSTILE};
use crate::model;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_tells_a_prompt_once() {
    let arena = Arena::new().await;
    let text = "0123456789".repeat(200);
    let attack = async {
        let body = json!({"prompt": &text, "prompt_logprobs": 20, "n": 32, "max_tokens": 1});
        let (status, answer) = arena.ask(HOSTILE, "/v1/completions", &body).await;
        assert_eq!(status, 200, "{answer:.300}");
        assert!(answer.len() < 8 << 20, "{} bytes", answer.len());
        let told = serde_json::from_str::<Value>(&answer).unwrap();
        let told = told["choices"].as_array().unwrap().iter();
        assert_eq!(
            told.filter(|choice| choice["prompt_logprobs"].is_array())
                .count(),
            1
        );
        for fields in [
            json!({"prompt_logprobs": 20}),
            json!({"echo": true, "logprobs": 20, "n": 64}),
        ] {
            let mut body = json!({"prompt": vec![&text; 64], "max_tokens": 1});
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let (status, answer) = arena.ask(HOSTILE, "/v1/completions", &body).await;
            assert_eq!(status, 400, "{answer:.300}");
        }
    };
    arena.attack(attack).await;
}

/// Answers whose log-probabilities are a hundred times as long as their text, and that are kept until they
/// are complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_probabilities_of_many_answers_are_bounded_together() {
    let arena = Arena::new().await;
    let attack = async {
        let body = json!({
            "messages": [{"role": "user", "content": "x"}], "n": 8, "max_tokens": 1000,
            "logprobs": true, "top_logprobs": 20, "ignore_eos": true,
        });
        let ask = async |_| {
            let response = arena.post(HOSTILE, "/v1/chat/completions", &body).await;
            let status = response.status().as_u16();
            assert!([200, 400, 429].contains(&status), "{status}");
            let mut response = response;
            while response.chunk().await.unwrap().is_some() {}
        };
        join_all((0..30).map(ask)).await;
    };
    arena.attack(attack).await;
}

/// Token ids that are more than any text has, told as a text that is three times as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_ids_beyond_the_context_are_no_text() {
    let arena = Arena::new().await;
    let body = format!("{{\"tokens\": [0{}]}}", ",0".repeat(7_500_000));
    let attack = async {
        let ask = async |_| {
            let request = arena
                .client
                .post(arena.url("/detokenize"))
                .bearer_auth(HOSTILE);
            let sent = request
                .header("content-type", "application/json")
                .body(body.clone())
                .send();
            // One that is refused before all of it has come may find its connection closed.
            let Ok(response) = sent.await else { return };
            let status = response.status().as_u16();
            let length = response.bytes().await.unwrap().len();
            assert!([400, 429].contains(&status), "{status}, {length} bytes");
        };
        join_all((0..4).map(ask)).await;
    };
    arena.attack(attack).await;
}

/// Conversations of more messages than any context has tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_are_refused_cheaply() {
    let arena = Arena::new().await;
    let messages = vec![json!({"role": "user", "content": "x"}); 80_000];
    let body = json!({"messages": messages, "max_tokens": 1});
    let attack = async {
        let ask = async |_| {
            for path in ["/v1/chat/completions", "/api/chat"] {
                let (status, text) = arena.ask(HOSTILE, path, &body).await;
                assert!([400, 429].contains(&status), "{status}: {text:.300}");
            }
        };
        join_all((0..6).map(ask)).await;
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_short_and_values_small() {
    let arena = Arena::new().await;
    let long = "(".repeat(100_000);
    let many: Vec<String> = (0..1_000_000).map(|i| i.to_string()).collect();
    let bodies = [
        json!({"guided_regex": &long}),
        json!({"guided_grammar": &long}),
        json!({"guided_json": {"type": &long}}),
        json!({"model": &long}),
        json!({"service_tier": &long}),
        json!({"reasoning_effort": &long}),
        json!({"response_format": {"type": &long}}),
        json!({"chat_template_kwargs": {"a": "x".repeat(15_000_000)}}),
        json!({"chat_template_kwargs": {"a": many}}),
        json!({&long: 1, "logit_bias": {&long: 1}}),
    ];
    let attack = async {
        let ask = async |fields: &Value| {
            let mut body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1});
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let (status, text) = arena.ask(HOSTILE, "/v1/chat/completions", &body).await;
            assert!(
                [400, 404, 413, 429].contains(&status),
                "{status}: {text:.300}"
            );
            assert!(text.len() < 3000, "{} bytes: {text:.300}", text.len());
        };
        join_all(bodies.iter().map(ask)).await;
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_of_responses_takes_what_it_says() {
    let arena = Arena::new().await;
    let small: Vec<Value> = (0..30_000).map(|i| json!({"a": i})).collect();
    let tool = json!({"type": "function", "name": "f", "parameters": {"x-values": small}});
    let attack = async {
        for i in 0..60 {
            let body = json!({"input": format!("{i}"), "tools": [tool], "tool_choice": "none", "max_output_tokens": 1});
            let (status, text) = arena.ask(HOSTILE, "/v1/responses", &body).await;
            assert!([200, 400].contains(&status), "{status}: {text:.300}");
            assert!(status == 200 || i == 0, "{text:.300}");
        }
    };
    arena.attack(attack).await;
}

/// Templates that make much of little: when the model is loaded, or for a certain message only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_doubles_a_text_ends_no_process() {
    let doubling = "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}\
                    {% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}";
    let chat = json!({"messages": [{"role": "user", "content": "double"}], "max_tokens": 1});
    let raw = json!({"prompt": "x", "max_tokens": 1});
    let arena = Arena::with_template(doubling, &["--api-key", "hostile,honest"]).await;
    let (status, text) = arena.ask(HOSTILE, "/v1/chat/completions", &chat).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("template"), "{text}");
    assert_eq!(arena.ask(HOSTILE, "/v1/completions", &raw).await.0, 200);
    drop(arena);

    let slow = "{% for i in range(9000) %}{{ ('x' * 30000000) | length }}{% endfor %}";
    let late = format!(
        "{{% if messages[0].content == 'double' %}}{doubling}\
         {{% elif messages[0].content == 'slow' %}}{slow}{{% endif %}}{}",
        model::TEMPLATE
    );
    let arena = Arena::with_template(&late, &["--api-key", "hostile,honest"]).await;
    let attack = async {
        for word in ["double", "slow", "double"] {
            let chat = json!({"messages": [{"role": "user", "content": word}], "max_tokens": 1});
            let (status, text) = arena.ask(HOSTILE, "/v1/chat/completions", &chat).await;
            assert_eq!(status, 400, "{text}");
            assert!(text.contains("template"), "{text}");
        }
    };
    arena.attack(attack).await;
    assert_eq!(
        arena.metric("matou:isolated_jobs_timed_out_total").await,
        1.0
    );
    assert_eq!(arena.metric("matou:isolated_jobs_died_total").await, 2.0);
}
