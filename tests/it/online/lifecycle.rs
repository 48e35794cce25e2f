//! Disconnecting and shutdown while the default model computes.

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::Server;

const USED: &str = "matou:kv_cache_usage_perc";
const RUNNING: &str = "matou:num_requests_running";

fn endless(prompt: &str) -> Value {
    json!({
        "messages": [{"role": "user", "content": prompt}],
        "stream": true, "ignore_eos": true, "max_tokens": 4000,
    })
}

#[tokio::test]
async fn a_client_that_leaves_during_generation_frees_its_blocks() {
    let server = Server::start(&[]);
    let url = format!("{}/v1/chat/completions", server.url);
    let response = server
        .client
        .post(url)
        .json(&endless("Count to a million."))
        .send()
        .await
        .unwrap();
    let mut body = response.bytes_stream();
    for _ in 0..3 {
        body.next().await.expect("the stream goes on").unwrap();
    }
    assert!(server.metric(USED).await > 0.0);
    drop(body);
    server.wait_for(USED, |used| used == 0.0).await;
    assert_eq!(server.metric(RUNNING).await, 0.0);
}

#[tokio::test]
async fn a_client_that_leaves_during_its_prompt_frees_its_blocks() {
    let server = Server::start(&["--max-num-batched-tokens", "64"]);
    let url = format!("{}/v1/chat/completions", server.url);
    let long = endless(&"All work and no play makes Jack a dull boy. ".repeat(300));
    let request = tokio::spawn(server.client.post(url).json(&long).send());
    server.wait_for(USED, |used| used > 0.0).await;
    request.abort();
    server.wait_for(USED, |used| used == 0.0).await;
    assert_eq!(
        server.metric("matou:generation_tokens_total").await,
        0.0,
        "left before a token came"
    );
}

#[tokio::test]
async fn sigterm_cuts_what_still_runs_after_the_timeout_and_exits_cleanly() {
    let mut server = Server::start(&["--shutdown-timeout", "1"]);
    let url = format!("{}/v1/chat/completions", server.url);
    let response = server
        .client
        .post(url)
        .json(&endless("Count to a million."))
        .send()
        .await
        .unwrap();
    let mut body = response.bytes_stream();
    body.next().await.expect("the stream begins").unwrap();
    server.signal("TERM");
    while let Some(Ok(_)) = body.next().await {}
    assert!(server.wait().success());
}

#[tokio::test]
async fn ctrl_c_lets_a_running_answer_finish() {
    let mut server = Server::start(&[]);
    let body = json!({"prompt": "Once upon a time", "max_tokens": 400, "ignore_eos": true});
    let answer = server.post("/v1/completions", &body);
    let stop = async {
        server.wait_for(RUNNING, |running| running > 0.0).await;
        server.signal("INT");
    };
    let ((status, answer), ()) = tokio::join!(answer, stop);
    assert_eq!(status, 200);
    assert_eq!(answer["usage"]["completion_tokens"], 400);
    assert!(server.wait().success());
}
