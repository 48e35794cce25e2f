//! Overload, and who is let in.

use serde_json::{Value, json};

use crate::harness::{Server, run, tiny_model};

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
