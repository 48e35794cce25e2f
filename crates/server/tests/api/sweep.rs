//! Every field of every endpoint that `/openapi.json` describes, with values of all kinds: never a
//! fault of the server, never an answer that does not end, and a null is the same as nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use matou_engine::EngineConfig;
use matou_server::known_fields;
use serde_json::{Value, json};

use crate::support::{FAILING, TestServer, serving_with_history};

/// The shortest request that each endpoint answers.
pub(crate) fn smallest(path: &str) -> Value {
    // Near the end of the numbers, so that an answer without a limit is short.
    let messages = json!([{"role": "user", "content": " t125"}]);
    match path {
        "/v1/chat/completions" | "/apply-template" => json!({"messages": messages}),
        "/v1/messages" => json!({"messages": messages, "max_tokens": 2}),
        "/v1/messages/count_tokens" | "/api/chat" => json!({"messages": messages}),
        "/v1/completions" | "/tokenize" | "/api/generate" | "/api/embeddings" => {
            json!({"prompt": " t125"})
        }
        "/v1/responses" | "/v1/embeddings" | "/api/embed" => json!({"input": " t125"}),
        "/v1/history" | "/v1/history/import" => json!({}),
        // The server that is swept has no keys: everybody is signed in.
        "/session" => json!({}),
        "/detokenize" => json!({"tokens": [5]}),
        "/api/show" => json!({}),
        "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" => json!({"lora_name": "x"}),
        "/api/pull" | "/models/load" | "/models/unload" => json!({"model": "counter"}),
        other => panic!("{other} has no request to sweep yet"),
    }
}

/// The names of all fields of a schema.
fn fields(document: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return fields(document, &document["components"]["schemas"][name], found);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fields(document, part, found);
    }
    let properties = schema["properties"].as_object();
    found.extend(properties.into_iter().flat_map(|all| all.keys().cloned()));
}

fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(-1),
        json!(0),
        json!(2),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.5),
        json!(""),
        json!("x"),
        json!("\u{10ffff}\0"),
        json!([]),
        json!([null]),
        json!([5]),
        json!(["x", ""]),
        json!({}),
        json!({"5": 1}),
        json!({"type": "text"}),
        json!({"type": "function", "name": "f"}),
        json!([{"type": "function", "function": {"name": "f"}, "name": "f", "input_schema": {}}]),
        json!([{"role": "user", "content": [{"type": "text"}]}]),
        json!([[[]]]),
    ]
}

async fn status(server: &TestServer, path: &str, request: &Value) -> u16 {
    let reply = tokio::time::timeout(Duration::from_secs(60), server.post(path, request)).await;
    let reply = reply.unwrap_or_else(|_| panic!("{path} {request} hangs"));
    let status = reply.status.as_u16();
    assert!(
        [200, 400, 404].contains(&status),
        "{path} {request}: {}",
        reply.text
    );
    if status != 200 {
        let error = &reply.json()["error"];
        let message = error["message"].as_str().or(error.as_str());
        assert!(
            message.is_some_and(|message| !message.is_empty()),
            "{path} {request}"
        );
    }
    status
}

#[tokio::test]
async fn no_value_of_any_field_of_any_endpoint_makes_the_server_fail() {
    let config = EngineConfig {
        max_model_len: 32,
        ..EngineConfig::default()
    };
    let server = serving_with_history(config, |model| {
        // At a high temperature any token may be drawn, also the one on which the model fails.
        let sampling = &mut model.card.default_sampling;
        sampling.banned_token_ids.push(FAILING);
        sampling.seed = Some(1);
    });
    let document = server.get("/openapi.json").await.json();
    let mut swept = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        // What changes which models there are is tried in `management`.
        let is_management =
            path.starts_with("/models/") || path == "/api/pull" || path.contains("lora_adapter");
        // What is of one conversation is tried in `history`.
        let is_of_one = path.contains('{');
        if schema.is_null() || is_management || is_of_one {
            continue;
        }
        let smallest = smallest(path);
        assert_eq!(status(&server, path, &smallest).await, 200, "{path}");
        let mut names = BTreeSet::new();
        fields(&document, schema, &mut names);
        assert!(!names.is_empty(), "{path}");
        names.insert("no_such_field".to_owned());
        // Fields of other endpoints are refused alike everywhere: here is enough.
        if path == "/v1/chat/completions" {
            names.extend(known_fields().into_iter().map(str::to_owned));
        }
        for name in &names {
            let mut request = smallest.clone();
            request[name] = Value::Null;
            let expected = if smallest.get(name).is_some() {
                400
            } else {
                200
            };
            let found = status(&server, path, &request).await;
            // Ollama takes a request for nothing as a question whether the model is there.
            let asks_for_nothing = path.starts_with("/api/") && found == 200;
            assert!(
                found == expected || asks_for_nothing,
                "{path}: {name} is null"
            );
            for value in values() {
                request[name] = value;
                // Random tokens could be the one that the model fails on.
                if request.get("logit_bias").is_none() && path.starts_with("/v1/c") {
                    request["logit_bias"] = json!({"99": -100});
                }
                let status = status(&server, path, &request).await;
                assert!(status == 200 || name != "no_such_field", "{path} {request}");
                swept += 1;
            }
        }
    }
    assert!(swept > 4000, "{swept} requests");
}
