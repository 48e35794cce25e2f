//! Answers of the real model over HTTP.

use serde_json::{Value, json};

use crate::harness::Server;

fn question() -> Value {
    json!({
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "temperature": 0, "max_tokens": 24,
    })
}

#[tokio::test]
async fn the_default_model_knows_the_capital_of_france() {
    let server = Server::start(&[]);
    let answer = server.chat(&question()).await;
    assert!(answer.contains("Paris"), "{answer}");

    let chunks = server.stream("/v1/chat/completions", &question()).await;
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, answer);
}

#[tokio::test]
async fn a_completion_continues_text_and_token_ids_alike() {
    let server = Server::start(&[]);
    let text = "The capital of France is";
    let (_, tokens) = server.post("/tokenize", &json!({"prompt": text})).await;
    let complete = async |prompt: &Value| {
        let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 8});
        let (status, answer) = server.post("/v1/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    let from_text = complete(&json!(text)).await;
    assert!(from_text.contains("Paris"), "{from_text}");
    assert_eq!(complete(&tokens["tokens"]).await, from_text);
}

/// Eight different conversations at once, greedy and sampled, give what each gives alone.
#[tokio::test]
async fn concurrent_streams_give_byte_for_byte_what_each_gives_alone() {
    let server = Server::start(&[]);
    let requests: Vec<_> = (0..8)
        .map(|i| {
            json!({
                "messages": [
                    {"role": "system", "content": "You are a storyteller. ".repeat(1 + 5 * i)},
                    {"role": "user", "content": format!("Tell me a story about {i} cats.")},
                ],
                "temperature": if i % 2 == 0 { 0.0 } else { 0.9 }, "top_p": 0.95, "seed": 40 + i,
                "max_tokens": 24 + 3 * i, "logprobs": true, "top_logprobs": 2,
            })
        })
        .collect();
    let text = |chunks: Vec<Value>| -> Vec<Value> {
        chunks
            .into_iter()
            .map(|chunk| chunk["choices"].clone())
            .collect()
    };
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(text(server.stream("/v1/chat/completions", request).await));
    }
    let together = futures_util::future::join_all(
        requests
            .iter()
            .map(|request| server.stream("/v1/chat/completions", request)),
    );
    let together: Vec<_> = together.await.into_iter().map(text).collect();
    // Not only the text: every chunk, log-probabilities included.
    assert_eq!(together, alone);

    let threaded = Server::start(&["--threads", "1"]);
    assert_eq!(
        text(threaded.stream("/v1/chat/completions", &requests[3]).await),
        alone[3]
    );
}

#[tokio::test]
async fn the_second_turn_reuses_the_first() {
    let server = Server::start(&[]);
    let mut body = question();
    body["messages"][1]["content"] =
        json!("Repeat after me: ".to_owned() + &"one two three ".repeat(60));
    let (_, first) = server.post("/v1/chat/completions", &body).await;
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let prompt_tokens = first["usage"]["prompt_tokens"].as_u64().expect("a count");

    let messages = body["messages"].as_array_mut().expect("messages");
    messages.push(first["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "Again."}));
    let (_, second) = server.post("/v1/chat/completions", &body).await;
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .expect("a count");
    assert!(
        cached >= prompt_tokens / 16 * 16,
        "{cached} of {prompt_tokens} tokens reused"
    );
}
