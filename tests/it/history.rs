//! What a server keeps, over its end: an orderly one, and one without warning.

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Server, finish, keeping, tiny_model};

async fn get(server: &Server, path: &str) -> Value {
    let response = server.client.get(format!("{}{path}", server.url)).send();
    response.await.unwrap().json().await.unwrap()
}

async fn made(server: &Server, path: &str, body: Value) -> String {
    let (status, made) = server.post(path, &body).await;
    assert_eq!(status, 200, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_that_was_confirmed_is_lost_when_the_server_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::spawn(keeping(data.path(), &tiny_model(), &[]));
    let id = made(&server, "/v1/history", json!({"title": "Kept"})).await;
    let mut last = None;
    for number in 0..20 {
        let message = json!({"parent": last, "role": "user", "content": format!(" t{number}")});
        last = Some(made(&server, &format!("/v1/history/{id}/messages"), message).await);
    }
    // In the middle of an answer, and of its being written down.
    let ask = json!({"parent": last, "max_tokens": 400, "ignore_eos": true});
    let answers = format!("{}/v1/history/{id}/answers", server.url);
    let response = server.client.post(answers).json(&ask).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.bytes_stream();
    body.next().await.unwrap().unwrap();
    server.signal("KILL");
    server.wait();

    let server = Server::spawn(keeping(data.path(), &tiny_model(), &[]));
    let whole = get(&server, &format!("/v1/history/{id}")).await;
    assert_eq!(whole["title"], "Kept");
    let messages = whole["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 21);
    for (number, message) in messages[..20].iter().enumerate() {
        assert_eq!(message["content"], format!(" t{number}"));
    }
    // However far it has come: it is whole, or it says that it is not.
    let answer = &messages[20];
    match answer["state"].as_str() {
        Some("interrupted") => assert!(answer["usage"].is_null(), "{answer}"),
        Some("done") => assert_eq!(answer["usage"]["completion_tokens"], 400),
        other => panic!("{other:?}: {answer}"),
    }
    // It is gone on with as if nothing had been.
    let ask = json!({"parent": messages[19]["id"], "max_tokens": 2});
    let answer = server
        .stream_of(&format!("/v1/history/{id}/answers"), &ask)
        .await;
    assert!(answer.len() > 2);
}

#[tokio::test]
async fn responses_and_answers_outlive_an_orderly_end() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::spawn(keeping(data.path(), &tiny_model(), &[]));
    let first = json!({"input": " t5", "max_output_tokens": 4});
    let first = made(&server, "/v1/responses", first).await;
    let id = made(&server, "/v1/history", json!({})).await;
    let said = json!({"role": "user", "content": " t9"});
    let said = made(&server, &format!("/v1/history/{id}/messages"), said).await;
    // Nobody reads it; the end of the server waits for it.
    let ask = json!({"parent": said, "max_tokens": 50, "ignore_eos": true});
    let answers = format!("{}/v1/history/{id}/answers", server.url);
    let response = server.client.post(answers).json(&ask).send().await.unwrap();
    drop(response);
    server.signal("TERM");
    assert!(server.wait().success());

    let server = Server::spawn(keeping(data.path(), &tiny_model(), &[]));
    let follows = json!({"input": " t6", "max_output_tokens": 4, "previous_response_id": first});
    let (status, second) = server.post("/v1/responses", &follows).await;
    assert_eq!(status, 200, "{second}");
    assert_eq!(second["previous_response_id"], first.as_str());
    let whole = get(&server, &format!("/v1/history/{id}")).await;
    let answer = &whole["messages"][1];
    assert_eq!(answer["state"], "done", "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 50);
}

#[test]
fn a_file_that_is_no_history_is_not_touched_and_the_start_says_why() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("history.db");
    let bytes = "these are my notes and no database, and they shall stay. ".repeat(100);
    std::fs::write(&file, &bytes).unwrap();
    let (success, _, errors) = finish(keeping(data.path(), &tiny_model(), &[]));
    assert!(!success);
    for part in ["history.db", "--no-history"] {
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), bytes);
}

#[tokio::test]
async fn without_history_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::spawn(keeping(&data, &tiny_model(), &["--no-history"]));
    let (status, _) = server
        .post(
            "/v1/responses",
            &json!({"input": " t5", "max_output_tokens": 2}),
        )
        .await;
    assert_eq!(status, 200);
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!data.exists());
}
