//! Fetching and deleting models, where the server's owner lets clients do it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use matou_engine::EngineConfig;
use matou_hub::ModelFiles;
use matou_llm::models::{Inspected, KeepAlive, ModelConfig, ModelSpec, Models, ModelsOptions};
use matou_llm::open::OpenOptions;
use matou_server::{AppState, ModelManagement, PullProgress};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{TestServer, serve, server};

/// Fetches `good` and nothing else, and remembers what it deleted.
#[derive(Default)]
struct Shelf(Mutex<Vec<String>>);

impl ModelManagement for Shelf {
    fn pull(
        &self,
        model: String,
        progress: watch::Sender<PullProgress>,
    ) -> BoxFuture<'static, Result<(), String>> {
        async move {
            for completed in [10, 20] {
                progress.send_replace(PullProgress {
                    completed,
                    total: 20,
                });
                // So that each is told.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            match model.as_str() {
                "good" => Ok(()),
                _ => Err(format!("there is no `{model}`")),
            }
        }
        .boxed()
    }

    fn delete(&self, model: String) -> BoxFuture<'static, Result<(), String>> {
        let known = model == "good";
        self.0.lock().unwrap().push(model);
        async move {
            known
                .then_some(())
                .ok_or_else(|| "it is not here".to_owned())
        }
        .boxed()
    }
}

fn managed() -> (TestServer, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    let state = server()
        .state
        .with_management(Some(Arc::clone(&shelf) as _));
    (serve(state), shelf)
}

async fn delete(server: &TestServer, body: &Value) -> u16 {
    let request = Request::delete("/api/delete").body(Body::from(body.to_string()));
    server.send(request.unwrap()).await.status.as_u16()
}

#[tokio::test]
async fn a_model_is_fetched_with_its_progress() {
    let (server, _) = managed();
    let lines = async |body: Value| -> Vec<Value> {
        let reply = server.post("/api/pull", &body).await;
        assert_eq!(reply.headers["content-type"], "application/x-ndjson");
        let lines = reply.text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let told = lines(json!({"model": "good:latest"})).await;
    assert_eq!(told[0], json!({"status": "pulling manifest"}));
    let last = told.last().unwrap();
    assert_eq!(last, &json!({"status": "success"}));
    let completed: Vec<u64> = told
        .iter()
        .filter_map(|line| line["completed"].as_u64())
        .collect();
    assert_eq!(completed, [10, 20]);
    let failed = lines(json!({"name": "bad"})).await;
    assert_eq!(failed.last().unwrap()["error"], "there is no `bad`");
    let whole = server
        .post("/api/pull", &json!({"model": "good", "stream": false}))
        .await;
    assert_eq!(whole.json(), json!({"status": "success"}));
    let whole = server
        .post("/api/pull", &json!({"model": "bad", "stream": false}))
        .await;
    assert_eq!(whole.status, 400);
    assert_eq!(server.post("/api/pull", &json!({})).await.status, 400);
}

#[tokio::test]
async fn a_model_is_deleted() {
    let (server, shelf) = managed();
    assert_eq!(delete(&server, &json!({"model": "good"})).await, 200);
    assert_eq!(delete(&server, &json!({"name": "bad"})).await, 404);
    assert_eq!(delete(&server, &json!({})).await, 400);
    assert_eq!(*shelf.0.lock().unwrap(), ["good", "bad"]);
}

#[tokio::test]
async fn nobody_fetches_or_deletes_who_was_not_let() {
    let server = server();
    let refused = server.post("/api/pull", &json!({"model": "good"})).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text.contains("--allow-model-management"),
        "{}",
        refused.text
    );
    assert_eq!(delete(&server, &json!({"model": "good"})).await, 403);
}

#[tokio::test]
async fn a_model_that_was_brought_along_is_loaded_and_stays() {
    let server = server();
    let load = server
        .post("/models/load", &json!({"model": "counter"}))
        .await;
    assert_eq!(load.json(), json!({"success": true}));
    assert_eq!(
        server
            .post("/models/load", &json!({"model": "none"}))
            .await
            .status,
        404
    );
    assert_eq!(
        server
            .post("/models/unload", &json!({"model": "counter"}))
            .await
            .status,
        400
    );
    let status = server.get("/status").await.json();
    assert_eq!(status["models"][0]["status"]["value"], "loaded");
    assert_eq!(status["models"][0]["device"], "CPU");
    assert_eq!(status["memory"]["budget"], Value::Null);
}

/// A server of a tiny checkpoint in a folder of its own that is not in memory yet.
fn unloaded() -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let from = matou_testkit::fixtures_dir().join("checkpoints/llama2");
    for entry in from.read_dir().unwrap().flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let spec = ModelSpec {
        files: ModelFiles {
            name: "tiny".to_owned(),
            weights: folder.path().to_owned(),
            is_gguf: false,
            defaults: None,
            context_length: None,
        },
        names: Vec::new(),
        options: OpenOptions::default(),
        limits: EngineConfig::default(),
    };
    let config = ModelConfig {
        inspected: Inspected::new(spec).unwrap(),
        pinned: false,
        keep_alive: KeepAlive::Forever,
        adapters: Vec::new(),
    };
    let options = ModelsOptions {
        memory: 1 << 32,
        kv_cache_part: 0.5,
        any_name: false,
        max_queue_len: 8,
    };
    let mut state = AppState::of(Models::new(vec![config], &options), 8);
    // Whoever has to wait at all is sent comments.
    state.limits.keep_alive = Duration::ZERO;
    (serve(state), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_model_is_loading_is_kept_alive() {
    let body = json!({"model": "tiny", "prompt": " t10", "max_tokens": 2, "stream": true});
    let (server, _folder) = unloaded();
    // Its head is sent before the model is there, and says all the same what a model will answer.
    let mut state = server.state.clone();
    state.label = true;
    let server = serve(state);
    let reply = server.post("/v1/completions", &body).await;
    assert_eq!(
        reply.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert!(
        reply.headers["ai-disclosure"]
            .to_str()
            .unwrap()
            .contains("\"tiny\"")
    );
    assert!(reply.text.starts_with(":\n\n"), "{}", reply.text);
    assert!(reply.text.ends_with("data: [DONE]\n\n"), "{}", reply.text);
    assert!(
        reply.text.contains("\"finish_reason\":\"length\""),
        "{}",
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_model_cannot_be_loaded_ends_with_the_reason() {
    let messages = json!([{"role": "user", "content": " t10"}]);
    for (path, body, event) in [
        (
            "/v1/chat/completions",
            json!({"messages": messages, "stream": true}),
            "data: {\"error\":{\"message\":\"The model `tiny` cannot be loaded",
        ),
        (
            "/v1/messages",
            json!({"messages": messages, "max_tokens": 2, "stream": true}),
            "event: error\ndata: {",
        ),
        (
            "/v1/responses",
            json!({"input": " t10", "stream": true}),
            "event: error\ndata: {",
        ),
    ] {
        let (server, folder) = unloaded();
        // A layer is missing, which shows when the others have been read.
        let config = folder.path().join("config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
        std::fs::write(&config, text).unwrap();
        let reply = server.post(path, &body).await;
        assert!(reply.text.starts_with(":\n\n"), "{}", reply.text);
        assert!(reply.text.contains(event), "{path}: {}", reply.text);
        assert!(
            reply.text.contains("cannot be loaded"),
            "{path}: {}",
            reply.text
        );
    }
}
