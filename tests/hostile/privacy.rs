//! One user and another's data.

use serde_json::{Value, json};

use crate::arena::{Arena, HONEST, HOSTILE};
use crate::model::TEMPLATE;
use crate::raw::{exchange, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_exists_for_its_maker_only() {
    let arena = Arena::new().await;
    let body = json!({"input": "My secret is x.", "max_output_tokens": 4});
    let (code, text) = arena.ask(HONEST, "/v1/responses", &body).await;
    assert_eq!(code, 200, "{text}");
    let id = serde_json::from_str::<Value>(&text).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/v1/responses/{id}");
    let get = async |key: &str, path: &str| {
        let request = arena.client.get(arena.url(path)).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    let delete = async |key: &str| {
        let request = arena.client.delete(arena.url(&path)).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    let items = format!("{path}/input_items");
    assert_eq!(get(HOSTILE, &path).await, 404);
    assert_eq!(get(HOSTILE, &items).await, 404);
    assert_eq!(delete(HOSTILE).await, 404);
    let follow =
        json!({"input": "What is it?", "previous_response_id": id, "max_output_tokens": 1});
    let (code, text) = arena.ask(HOSTILE, "/v1/responses", &follow).await;
    assert_eq!(code, 400, "{text}");
    assert_eq!(get(HONEST, &path).await, 200);
    assert_eq!(get(HONEST, &items).await, 200);
    assert_eq!(arena.ask(HONEST, "/v1/responses", &follow).await.0, 200);
    assert_eq!(delete(HONEST).await, 200);
}

/// The id of a kept response is all that it takes to ask for it: it is its maker's to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_responses_are_not_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let arena = Arena::started(TEMPLATE, &["--api-key", "hostile,honest"], |mut command| {
        command.env("RUST_LOG", "debug").stderr(file);
        command
    });
    let arena = arena.await;
    let body = json!({"input": "My secret is x.", "max_output_tokens": 4});
    let (code, text) = arena.ask(HONEST, "/v1/responses", &body).await;
    assert_eq!(code, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let id = answer["id"].as_str().unwrap().trim_start_matches("resp_");
    for path in ["", "/input_items", "/cancel"] {
        let path = format!("/v1/responses/resp_{id}{path}?include=x");
        let request = arena.client.get(arena.url(&path)).bearer_auth(HONEST);
        request.send().await.unwrap();
    }
    let follow =
        json!({"input": "x", "previous_response_id": format!("resp_{id}"), "max_output_tokens": 1});
    assert_eq!(arena.ask(HONEST, "/v1/responses", &follow).await.0, 200);
    drop(arena);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("/v1/responses"), "requests are logged: {log}");
    assert!(!log.contains(id), "{log}");
}

/// Tokens of a prompt that were cached, asked by a key with a salt.
async fn cached(arena: &Arena, key: &str, salt: Option<&str>) -> u64 {
    let mut body = json!({"prompt": "The same long prompt. ".repeat(8), "max_tokens": 1});
    if let Some(salt) = salt {
        body["cache_salt"] = salt.into();
    }
    let (code, text) = arena.ask(key, "/v1/completions", &body).await;
    assert_eq!(code, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cached_tells_a_key_about_itself_only() {
    let arena = Arena::new().await;
    assert_eq!(cached(&arena, HONEST, None).await, 0);
    assert!(cached(&arena, HONEST, None).await > 0);
    assert_eq!(cached(&arena, HOSTILE, None).await, 0);
    assert_eq!(cached(&arena, HONEST, Some("salt")).await, 0);
    assert!(cached(&arena, HONEST, Some("salt")).await > 0);
    assert_eq!(cached(&arena, HOSTILE, Some("salt")).await, 0);
    drop(arena);
    let arena = Arena::with(&["--api-key", "hostile,honest", "--share-prefix-cache"]).await;
    assert_eq!(cached(&arena, HONEST, None).await, 0);
    assert!(cached(&arena, HOSTILE, None).await > 0);
    assert_eq!(cached(&arena, HOSTILE, Some("salt")).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_are_told_from_programs_of_this_machine() {
    let arena = Arena::with(&[]).await;
    let address = arena.server.url.trim_start_matches("http://").to_owned();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let body = r#"{"prompt": "x", "max_tokens": 1}"#;
    let post = async |host: &str, further: &str| {
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: {host}\r\n{further}Connection: close\r\n"
        );
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        status(&exchange(&arena.server.url, &request).await.0)
    };
    // As curl sends it, and as a browser does for a page of this machine.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(post(&address, form).await, 200);
    assert_eq!(post(&address, "").await, 200);
    assert_eq!(post(&format!("localhost:{port}"), form).await, 200);
    assert_eq!(
        post(&address, &format!("Origin: http://localhost:{port}\r\n")).await,
        200
    );
    // A page elsewhere, and a page whose site's name was made to lead here.
    assert_eq!(
        post(
            &address,
            "Origin: http://evil.example\r\nContent-Type: text/plain\r\n"
        )
        .await,
        403
    );
    assert_eq!(
        post("evil.example", "Content-Type: text/plain\r\n").await,
        403
    );
    assert_eq!(
        post(
            &format!("evil.example:{port}"),
            "Origin: http://evil.example\r\n"
        )
        .await,
        403
    );
    let models = "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&exchange(&arena.server.url, models).await.0), 403);
    drop(arena);
    let arena = Arena::with(&["--allowed-hosts", "evil.example"]).await;
    assert_eq!(status(&exchange(&arena.server.url, models).await.0), 200);
}
