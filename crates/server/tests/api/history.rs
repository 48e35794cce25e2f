//! Conversations that the server keeps: whose they are, found, changed, taken along and deleted.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use matou_engine::EngineConfig;
use matou_history::History;
use serde_json::{Value, json};

use crate::support::{Reply, TestServer, server, server_with};

pub(crate) fn keeping() -> TestServer {
    kept(Duration::ZERO, |_| {})
}

pub(crate) fn kept(step: Duration, change: impl FnOnce(&mut matou_server::AppState)) -> TestServer {
    server_with(EngineConfig::default(), step, |state| {
        *state = state.clone().with_history(History::in_memory().unwrap());
        change(state);
    })
}

async fn call(server: &TestServer, method: Method, path: &str, key: &str) -> Reply {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {key}"));
    server.send(request.body(Body::empty()).unwrap()).await
}

pub(crate) async fn delete(server: &TestServer, path: &str) -> Reply {
    call(server, Method::DELETE, path, "").await
}

/// A conversation in which this was said, and the ids of both.
pub(crate) async fn said(server: &TestServer, text: &str) -> (String, String) {
    let made = server
        .post("/v1/history", &json!({"title": "Numbers"}))
        .await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let message = json!({"role": "user", "content": text});
    let path = format!("/v1/history/{id}/messages");
    let said = server.post(&path, &message).await.json();
    (id, said["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn nobody_sees_what_another_key_has() {
    let server = kept(Duration::ZERO, |state| {
        state.access.keys = ["first", "second"].into_iter().collect();
    });
    let post = async |key: &str, path: &str, body: Value| {
        let request = Request::post(path).header("authorization", format!("Bearer {key}"));
        server
            .send(request.body(Body::from(body.to_string())).unwrap())
            .await
    };
    let made = post("first", "/v1/history", json!({"title": "Mine"}))
        .await
        .json();
    let id = made["id"].as_str().unwrap();
    let message = json!({"role": "user", "content": " t5 secret"});
    let said = post(
        "first",
        &format!("/v1/history/{id}/messages"),
        message.clone(),
    )
    .await
    .json();
    let said = said["id"].as_str().unwrap();

    let listed = call(&server, Method::GET, "/v1/history", "second")
        .await
        .json();
    assert_eq!(listed["data"], json!([]));
    let found = call(&server, Method::GET, "/v1/history?q=secret", "second")
        .await
        .json();
    assert_eq!(found["data"], json!([]));
    let one = format!("/v1/history/{id}");
    for (method, path) in [
        (Method::GET, one.clone()),
        (Method::DELETE, one.clone()),
        (Method::GET, format!("{one}/export")),
        (Method::GET, format!("{one}/messages/{said}")),
        (Method::DELETE, format!("{one}/messages/{said}")),
        (Method::GET, format!("{one}/messages/{said}/stream")),
        (Method::POST, format!("{one}/messages/{said}/stop")),
    ] {
        let reply = call(&server, method.clone(), &path, "second").await;
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text);
    }
    for (path, body) in [
        (one.clone(), json!({"title": "Yours"})),
        (format!("{one}/messages"), message),
        (format!("{one}/answers"), json!({"parent": said})),
    ] {
        assert_eq!(post("second", &path, body).await.status, 404, "{path}");
    }
    assert_eq!(
        call(&server, Method::DELETE, "/v1/history", "second")
            .await
            .json()["count"],
        0
    );
    let whole = call(&server, Method::GET, &one, "first").await.json();
    assert_eq!(
        (whole["title"].as_str(), whole["message_count"].as_u64()),
        (Some("Mine"), Some(1))
    );
}

#[tokio::test]
async fn conversations_are_found_changed_taken_along_and_deleted() {
    let server = keeping();
    let (id, _) = said(&server, " t1 the harbour at night").await;
    let path = format!("/v1/history/{id}");
    let changes =
        json!({"pinned": true, "folder": "Sea", "settings": {"temperature": 0.5}, "draft": "and"});
    let changed = server.post(&path, &changes).await.json();
    assert_eq!(
        (changed["pinned"].as_bool(), changed["draft"].as_str()),
        (Some(true), Some("and"))
    );
    assert_eq!(changed["title"], "Numbers");
    let listed = server.get("/v1/history?folder=Sea&limit=1").await.json();
    assert_eq!(
        (
            listed["data"][0]["id"].as_str(),
            listed["folders"][0].as_str()
        ),
        (Some(&*id), Some("Sea"))
    );
    let found = server.get("/v1/history?q=HARBOUR").await.json();
    let snippet = &found["data"][0]["snippet"];
    assert!(
        snippet["text"].as_str().unwrap().contains("harbour"),
        "{found}"
    );

    let markdown = server.get(&format!("{path}/export?format=markdown")).await;
    assert!(markdown.text.starts_with("# Numbers") && markdown.text.contains("harbour"));
    assert_eq!(
        server
            .get(&format!("{path}/export?format=pdf"))
            .await
            .error()
            .0,
        400
    );
    let all = server.get("/v1/history/export").await.json();
    assert_eq!(all["conversations"].as_array().unwrap().len(), 1);

    assert_eq!(delete(&server, &path).await.json()["deleted"], true);
    assert_eq!(server.get(&path).await.error().0, 404);
    assert_eq!(
        server.get("/v1/history?q=harbour").await.json()["data"],
        json!([])
    );
    let back = server.post("/v1/history/import", &all).await.json();
    assert_eq!(back["imported"], 1);
    let again = format!("/v1/history/{}", back["ids"][0].as_str().unwrap());
    let whole = server.get(&again).await.json();
    assert_eq!(whole["messages"][0]["content"], " t1 the harbour at night");
    assert_eq!(whole["folder"], "Sea");
    for bad in [
        json!({"messages": [{"id": "a", "role": "user", "parent": "a"}]}),
        json!({"messages": 5}),
    ] {
        assert_eq!(
            server.post("/v1/history/import", &bad).await.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(delete(&server, "/v1/history").await.json()["count"], 1);
    assert_eq!(server.get("/v1/history").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_server_without_history_says_so() {
    let server = server();
    for path in ["/v1/history", "/v1/history/x", "/v1/history/export"] {
        let (status, _, code, _) = server.get(path).await.error();
        assert_eq!(
            (status, code.as_deref()),
            (404, Some("history_off")),
            "{path}"
        );
    }
    assert_eq!(server.get("/session").await.json()["history"], false);
}
