//! Adapters that come and go while the server runs, and requests that have one.

use std::path::PathBuf;
use std::sync::Arc;

use matou_engine::EngineConfig;
use matou_hub::ModelFiles;
use matou_llm::models::{Inspected, KeepAlive, ModelConfig, ModelSpec, Models, ModelsOptions};
use matou_llm::open::OpenOptions;
use matou_server::{AppState, ModelManagement, PullProgress};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Reply, TestServer, serve};

/// Clients may do it, and there is nothing else that they may.
struct Allowed;

impl ModelManagement for Allowed {
    fn pull(
        &self,
        _: String,
        _: watch::Sender<PullProgress>,
    ) -> futures_util::future::BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Err("not here".to_owned()) })
    }

    fn delete(&self, _: String) -> futures_util::future::BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Err("not here".to_owned()) })
    }
}

fn fixture(path: &str) -> PathBuf {
    matou_testkit::fixtures_dir().join(path)
}

fn server(is_allowed: bool, memory: u64) -> TestServer {
    let spec = ModelSpec {
        files: ModelFiles {
            name: "llama3.2".to_owned(),
            weights: fixture("checkpoints/llama3.2"),
            is_gguf: false,
            defaults: None,
            context_length: None,
        },
        names: Vec::new(),
        options: OpenOptions {
            threads: Some(1),
            ..OpenOptions::default()
        },
        limits: EngineConfig::default(),
    };
    let config = ModelConfig {
        inspected: Inspected::new(spec).unwrap(),
        pinned: true,
        keep_alive: KeepAlive::Forever,
        adapters: Vec::new(),
    };
    let options = ModelsOptions {
        memory,
        kv_cache_part: 0.1,
        any_name: false,
        max_queue_len: 64,
    };
    let state = AppState::of(Models::new(vec![config], &options), 64);
    serve(state.with_management(is_allowed.then(|| Arc::new(Allowed) as _)))
}

async fn load(server: &TestServer, name: &str, adapter: &str) -> Reply {
    let path = fixture("lora").join(adapter);
    let request = json!({"lora_name": name, "lora_path": path});
    server.post("/v1/load_lora_adapter", &request).await
}

/// The tokens that follow, as text.
async fn answer(server: &TestServer, model: &str) -> String {
    let request = json!({
        "model": model, "prompt": [5, 6, 7, 8], "max_tokens": 12, "temperature": 0, "ignore_eos": true,
    });
    let reply = server.post("/v1/completions", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["model"], model);
    reply.json()["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn adapters_are_loaded_used_listed_and_unloaded() {
    let server = server(true, GIB);
    let base = answer(&server, "llama3.2").await;
    let loaded = load(&server, "style", "llama3.2-qkvo").await;
    assert_eq!(loaded.status, 200);
    assert_eq!(
        loaded.text,
        "Success: LoRA adapter 'style' added successfully."
    );
    let style = answer(&server, "style").await;
    assert_ne!(style, base);
    assert_eq!(answer(&server, "llama3.2").await, base);
    let models = server.get("/v1/models").await.json();
    let listed = &models["data"][1];
    assert_eq!(
        (&listed["id"], &listed["parent"]),
        (&json!("style"), &json!("llama3.2"))
    );
    assert_eq!(listed["type"], "adapter");
    assert!(listed["root"].as_str().unwrap().ends_with("llama3.2-qkvo"));
    // A second one of the name is refused, unless it is to take its place.
    let (status, param, _, message) = load(&server, "style", "llama3.2-patterns").await.error();
    assert_eq!(
        (status, param.as_deref()),
        (400, Some("lora_name")),
        "{message}"
    );
    for taken in ["llama3.2"] {
        assert_eq!(load(&server, taken, "llama3.2-qv").await.status, 400);
    }
    let path = fixture("lora/llama3.2-patterns");
    let request = json!({"lora_name": "style", "lora_path": path, "load_inplace": true});
    assert_eq!(
        server.post("/v1/load_lora_adapter", &request).await.status,
        200
    );
    assert_ne!(answer(&server, "style").await, style);
    let unload = json!({"lora_name": "style"});
    assert_eq!(
        server.post("/v1/unload_lora_adapter", &unload).await.status,
        200
    );
    assert_eq!(
        server.post("/v1/unload_lora_adapter", &unload).await.status,
        404
    );
    let gone = json!({"model": "style", "prompt": "x"});
    assert_eq!(server.post("/v1/completions", &gone).await.status, 404);
    assert_eq!(answer(&server, "llama3.2").await, base);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let server = server(true, GIB);
    for (adapter, status, named) in [
        ("refuse-wrong-base", 503, "refuse-wrong-base"),
        ("nowhere", 400, "nowhere"),
        ("README.md", 400, "adapter_config.json"),
    ] {
        let reply = load(&server, "bad", adapter).await;
        assert_eq!(reply.status, status, "{adapter}: {}", reply.text);
        assert!(reply.text.contains(named), "{adapter}: {}", reply.text);
    }
    assert_eq!(
        server.get("/v1/models").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for request in [
        json!({}),
        json!({"lora_name": "x"}),
        json!({"lora_path": "x"}),
    ] {
        assert_eq!(
            server.post("/v1/load_lora_adapter", &request).await.status,
            400
        );
    }
    let elsewhere = json!({
        "lora_name": "x", "lora_path": fixture("lora/llama3.2-qv"), "base_model_name": "nowhere",
    });
    assert_eq!(
        server
            .post("/v1/load_lora_adapter", &elsewhere)
            .await
            .status,
        404
    );
    answer(&server, "llama3.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_load_adapters_only_where_they_may() {
    let server = server(false, GIB);
    let (status, _, _, message) = load(&server, "style", "llama3.2-qv").await.error();
    assert_eq!(status, 403);
    assert!(message.contains("--allow-model-management"), "{message}");
    let unload = server
        .post("/v1/unload_lora_adapter", &json!({"lora_name": "style"}))
        .await;
    assert_eq!(unload.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_count_against_the_memory_that_there_is() {
    let server = server(true, GIB);
    answer(&server, "llama3.2").await;
    let (before, budget) = server.state.models.memory();
    assert_eq!(load(&server, "style", "llama3.2-qkvo").await.status, 200);
    let (with, _) = server.state.models.memory();
    assert!(with > before);
    server
        .post("/v1/unload_lora_adapter", &json!({"lora_name": "style"}))
        .await;
    assert_eq!(server.state.models.memory(), (before, budget));
}

/// Requests with three adapters and with none, all at once, answer as each does alone.
#[tokio::test(flavor = "multi_thread")]
async fn adapters_side_by_side_answer_as_alone() {
    let server = server(true, GIB);
    let names = [
        "llama3.2",
        "llama3.2-qkvo",
        "llama3.2-patterns",
        "llama3.2-rslora",
    ];
    for name in &names[1..] {
        assert_eq!(load(&server, name, name).await.status, 200);
    }
    let prompt: Vec<u32> = (0..40).map(|i| 3 + i * 7 % 120).collect();
    let request = |model: &str| {
        json!({
            "model": model, "prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": true,
            "logprobs": 2,
        })
    };
    let text_of = |reply: Reply| -> (Value, u64) {
        assert_eq!(reply.status, 200, "{}", reply.text);
        let json = reply.json();
        let cached = json["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap();
        (json["choices"][0].clone(), cached)
    };
    let mut alone = Vec::new();
    for name in names {
        let (choice, cached) = text_of(server.post("/v1/completions", &request(name)).await);
        assert_eq!(cached, 0, "{name} shares no prefix with another");
        alone.push(choice);
    }
    assert!((1..4).all(|i| alone[i]["text"] != alone[0]["text"]));
    let rounds = (0..3).flat_map(|_| names);
    let requests: Vec<Value> = rounds.map(request).collect();
    let all = requests
        .iter()
        .map(|request| server.post("/v1/completions", request));
    let together = futures_util::future::join_all(all).await;
    for (i, reply) in together.into_iter().enumerate() {
        let (choice, cached) = text_of(reply);
        assert_eq!(cached, 32, "its own prefix is known");
        assert_eq!(choice, alone[i % 4], "{}", names[i % 4]);
    }
}
