//! Disconnecting, overload and shutdown.

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Server, run, tiny_model};

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
async fn a_full_queue_is_429_with_retry_after_and_the_server_goes_on() {
    let server = Server::start_model(
        &tiny_model(),
        &["--max-num-seqs", "2", "--max-queue-len", "4"],
    );
    let url = format!("{}/v1/completions", server.url);
    let body = json!({"prompt": " t5 t6", "max_tokens": 100, "ignore_eos": true});
    let requests = (0..200).map(|_| server.client.post(&url).json(&body).send());
    let (mut served, mut refused) = (0, 0);
    for response in futures_util::future::join_all(requests).await {
        let response = response.unwrap();
        match response.status().as_u16() {
            200 => served += 1,
            429 => {
                assert!(response.headers().contains_key("retry-after"));
                let body: Value = response.json().await.unwrap();
                assert!(
                    body["error"]["message"]
                        .as_str()
                        .expect("a message")
                        .contains("queue"),
                    "{body}"
                );
                refused += 1;
            }
            other => panic!("status {other}"),
        }
    }
    assert_eq!(served + refused, 200);
    assert!(served >= 4, "only {served} were served");
    assert!(refused > 0, "200 requests at once fitted into a queue of 4");
    assert_eq!(server.post("/v1/completions", &body).await.0, 200);
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

#[test]
fn an_address_that_others_reach_needs_a_key() {
    let model = tiny_model();
    let output = run(&[
        "serve",
        model.to_str().unwrap(),
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("--api-key"), "{errors}");
    assert!(errors.contains("--allow-unauthenticated"), "{errors}");
}

#[tokio::test]
async fn a_server_with_a_key_asks_for_it() {
    let server = Server::start_model(&tiny_model(), &["--api-key", "first,second"]);
    let url = format!("{}/v1/models", server.url);
    let bare = server.client.get(&url).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let keyed = server
        .client
        .get(&url)
        .bearer_auth("second")
        .send()
        .await
        .unwrap();
    assert_eq!(keyed.status(), 200);
}
