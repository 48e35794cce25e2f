//! The endpoints around generation.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::server;

#[tokio::test]
async fn models_are_listed_under_all_their_names() {
    let server = server();
    let list = server.get("/v1/models").await.json();
    let alias = json!({
        "id": "org/alias",
        "object": "model",
        "created": 1_600_000_000,
        "owned_by": "matou",
        "max_model_len": 4096,
        "context_length": 4096,
        "context_window": 4096,
        "root": "counter",
        "parent": null,
        "type": "model",
        "meta": {"n_vocab": 128, "n_ctx": 4096, "n_embd": 2, "n_params": 0, "size": 0},
        "status": {"value": "loaded", "bytes": 0},
    });
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "counter");
    assert_eq!(list["data"][1], alias);
    assert_eq!(server.get("/v1/models/org/alias").await.json(), alias);
    let (status, _, code, _) = server.get("/v1/models/none").await.error();
    assert_eq!((status, code.as_deref()), (404, Some("model_not_found")));
}

#[tokio::test]
async fn health_and_version_answer() {
    let server = server();
    assert_eq!(server.get("/health").await.json(), json!({"status": "ok"}));
    assert_eq!(
        server.get("/version").await.json(),
        json!({"version": env!("CARGO_PKG_VERSION")})
    );
}

#[tokio::test]
async fn text_is_tokenised_and_back() {
    let server = server();
    let request = json!({"prompt": " t5 t17", "return_token_strs": true});
    let answer = server.post("/tokenize", &request).await.json();
    let expected = json!({
        "count": 2, "max_model_len": 4096, "tokens": [5, 17], "token_strs": [" t5", " t17"],
    });
    assert_eq!(answer, expected);
    let answer = server
        .post("/detokenize", &json!({"tokens": [5, 17]}))
        .await
        .json();
    assert_eq!(answer, json!({"prompt": " t5 t17"}));
    let request = json!({"messages": [{"role": "user", "content": " t9"}]});
    let answer = server.post("/tokenize", &request).await.json();
    assert_eq!(answer["tokens"], json!([9]));
}

#[tokio::test]
async fn the_request_id_is_the_clients_or_a_random_one() {
    let server = server();
    let ask = async |id: Option<&str>| {
        let request = Request::get("/health");
        let request = if let Some(id) = id {
            request.header("x-request-id", id)
        } else {
            request
        };
        let reply = server.send(request.body(Body::empty()).unwrap()).await;
        reply.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask(Some("mine-1")).await, "mine-1");
    assert_eq!(ask(None).await.len(), 32);
    assert_ne!(ask(None).await, ask(None).await);
    assert_eq!(ask(Some("with space")).await.len(), 32);
    assert_eq!(ask(Some(&"x".repeat(129))).await.len(), 32);
    let reply = server.get("/nothing").await;
    assert!(reply.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn metrics_have_vllms_names() {
    let server = server();
    let request = json!({"prompt": " t10 t11", "max_tokens": 3});
    server.post("/v1/completions", &request).await;
    server.idle().await;
    let reply = server.get("/metrics").await;
    assert_eq!(
        reply.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let labels = r#"model_name="counter",engine="0""#;
    let samples = [
        format!(r#"matou:device_info{{{labels},device="CPU",kind="cpu"}} 1"#),
        format!("matou:num_requests_running{{{labels}}} 0"),
        format!("matou:num_requests_waiting{{{labels}}} 0"),
        format!("matou:kv_cache_usage_perc{{{labels}}} 0"),
        format!("matou:prompt_tokens_total{{{labels}}} 2"),
        format!("matou:generation_tokens_total{{{labels}}} 3"),
        format!("matou:num_preemptions_total{{{labels}}} 0"),
        format!("matou:prefix_cache_hits_total{{{labels}}} 0"),
        format!(r#"matou:request_success_total{{{labels},finished_reason="length"}} 1"#),
        format!("matou:time_to_first_token_seconds_count{{{labels}}} 1"),
        format!(r#"matou:time_to_first_token_seconds_bucket{{{labels},le="+Inf"}} 1"#),
        format!("matou:inter_token_latency_seconds_count{{{labels}}} 2"),
        format!("matou:e2e_request_latency_seconds_count{{{labels}}} 1"),
        format!("matou:request_queue_time_seconds_count{{{labels}}} 1"),
        format!("matou:request_prefill_time_seconds_count{{{labels}}} 1"),
        format!("matou:request_decode_time_seconds_count{{{labels}}} 1"),
        format!("matou:request_inference_time_seconds_count{{{labels}}} 1"),
        format!("matou:request_prompt_tokens_sum{{{labels}}} 2"),
        format!("matou:request_generation_tokens_sum{{{labels}}} 3"),
        format!("matou:request_params_max_tokens_sum{{{labels}}} 3"),
        format!("matou:request_params_n_sum{{{labels}}} 1"),
    ];
    for sample in samples {
        assert!(
            reply.text.lines().any(|line| line == sample),
            "{sample}\n{}",
            reply.text
        );
    }
    // Each family says what it is, once, before its samples.
    let types = reply
        .text
        .lines()
        .filter(|line| line.starts_with("# TYPE matou:num_requests_running "));
    assert_eq!(types.count(), 1);
}

#[tokio::test]
async fn a_conversation_is_shown_as_the_model_reads_it() {
    let request = json!({"messages": [{"role": "user", "content": " t5"}]});
    let server = crate::spelling::saying("x", crate::spelling::PLAIN);
    let answer = server.post("/apply-template", &request).await.json();
    assert_eq!(answer, json!({"prompt": "<user> t5\n<assistant>"}));
}

#[tokio::test]
async fn the_api_is_described() {
    let server = server();
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/api/chat",
    ] {
        assert!(paths[path]["post"]["requestBody"].is_object(), "{path}");
    }
    let page = server.get("/docs").await;
    assert!(page.text.contains("openapi.json"));
    assert!(!page.text.contains("//cdn"), "the page works offline");
}

#[tokio::test]
async fn every_described_path_is_served() {
    let server = server();
    let document = server.get("/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", "counter");
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(&path);
            let reply = server.send(request.body(Body::from("{}")).unwrap()).await;
            let known =
                !reply.text.contains("unknown_url") && !reply.text.contains("Unknown request URL");
            assert!(
                known && reply.status != 405,
                "{method} {path}: {}",
                reply.text
            );
        }
    }
}
