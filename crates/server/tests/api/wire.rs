//! What clones get wrong: one test a topic, or several that begin with its name.
//!
//! | topic | tests |
//! |---|---|
//! | framing | [`framing`] |
//! | first chunk | [`first_chunk`] |
//! | usage | [`usage`] |
//! | finish reason | [`finish_reason`] |
//! | tool deltas | `tools::tool_deltas_*` |
//! | errors | [`errors`]; each status in `errors` and `access` |
//! | null | [`null`]; for every field in `sweep` |
//! | unknown fields | [`unknown_fields`]; fields that only others know in `fields` |
//! | chat logprobs | [`chat_logprobs`] |
//! | legacy logprobs | [`legacy_logprobs`] |
//! | stop strings | [`stop_strings`] |
//! | UTF-8 | [`utf_8`] |
//! | n > 1 | [`n_greater_than_one`] |
//! | too long | [`too_long`] |
//! | tool choice | `tools::tool_choice_*`, `tools::parallel_tool_calls_*` |
//! | response format | `structured::response_format_*` |
//! | seed | [`seed`] |
//! | disconnect | `lifecycle::disconnect_*` |

use matou_engine::EngineConfig;
use serde_json::{Value, json};

use crate::spelling::{PLAIN, saying};
use crate::support::{server, server_with, with};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A chat request whose answer begins with ` t11`.
pub(crate) fn count_from_ten(fields: Value) -> Value {
    let messages = json!([{"role": "user", "content": " t10"}]);
    with(json!({"messages": messages, "max_tokens": 4}), fields)
}

pub(crate) fn content_of(chunks: &[Value], index: u64) -> String {
    let choices = chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let of_index = choices.filter(|choice| choice["index"] == index);
    of_index
        .filter_map(|choice| {
            choice["delta"]["content"]
                .as_str()
                .or(choice["text"].as_str())
        })
        .collect()
}

#[tokio::test]
async fn framing() {
    let reply = server()
        .post(CHAT, &count_from_ten(json!({"stream": true})))
        .await;
    assert_eq!(
        reply.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert!(
        reply
            .text
            .lines()
            .all(|line| line.is_empty() || line.starts_with("data: "))
    );
    assert!(reply.text.ends_with("\n\ndata: [DONE]\n\n"));
}

#[tokio::test]
async fn first_chunk() {
    let reply = server()
        .post(CHAT, &count_from_ten(json!({"stream": true})))
        .await;
    let chunks = reply.chunks();
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let with_role = |chunk: &&Value| chunk["choices"][0]["delta"].get("role").is_some();
    assert_eq!(chunks.iter().filter(with_role).count(), 1);
    for chunk in &chunks {
        assert_eq!(
            (&chunk["id"], &chunk["created"]),
            (&chunks[0]["id"], &chunks[0]["created"])
        );
    }
}

#[tokio::test]
async fn usage() {
    let server = server();
    let plain = server
        .post(CHAT, &count_from_ten(json!({"stream": true})))
        .await
        .chunks();
    assert!(plain.iter().all(|chunk| chunk.get("usage").is_none()));

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut chunks = server.post(CHAT, &count_from_ten(options)).await.chunks();
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 1);
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert_eq!(last["usage"]["total_tokens"], 5);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()));
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );

    let without_stream = json!({"stream_options": {"include_usage": true}});
    let reply = server.post(CHAT, &count_from_ten(without_stream)).await;
    assert_eq!(
        (reply.error().0, reply.error().1.as_deref()),
        (400, Some("stream_options"))
    );
}

#[tokio::test]
async fn finish_reason() {
    let server = server();
    let chunks = server
        .post(CHAT, &count_from_ten(json!({"stream": true})))
        .await
        .chunks();
    let reasons: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["finish_reason"])
        .collect();
    let (last, before) = reasons.split_last().unwrap();
    assert_eq!(*last, "length");
    assert!(before.iter().all(|reason| reason.is_null()));

    let to_the_end = json!({"messages": [{"role": "user", "content": " t125"}]});
    let answer = server.post(CHAT, &to_the_end).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], " t126 t127");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // Both tokens and the one that ended the text.
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn errors() {
    let server = server();
    // What fails before the first token is plain HTTP, also when a stream was asked for.
    let failing = json!({"messages": [{"role": "user", "content": " t99"}], "stream": true});
    let reply = server.post(CHAT, &failing).await;
    assert_eq!(reply.error().0, 500);
    // What fails later is an event of the stream, which is then closed.
    let failing = json!({"messages": [{"role": "user", "content": " t96"}], "stream": true});
    let chunks = server.post(CHAT, &failing).await.chunks();
    assert_eq!(content_of(&chunks[..3], 0), " t97 t98");
    let error = &chunks.last().unwrap()["error"];
    assert_eq!(
        (&error["type"], &error["param"]),
        (&json!("server_error"), &Value::Null)
    );
    // And without a stream it is plain HTTP again.
    let failing = json!({"messages": [{"role": "user", "content": " t96"}]});
    assert_eq!(server.post(CHAT, &failing).await.error().0, 500);
    // A failed step costs its own requests only.
    assert_eq!(
        server.post(CHAT, &count_from_ten(json!({}))).await.status,
        200
    );
}

#[tokio::test]
async fn null() {
    let nulls = json!({"stream": null, "stop": null, "n": null, "logprobs": null, "seed": null});
    let answer = server().post(CHAT, &count_from_ten(nulls)).await.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        " t11 t12 t13 t14"
    );
    assert_eq!(
        answer["choices"][0].as_object().unwrap().get("logprobs"),
        Some(&Value::Null)
    );
    assert_eq!(answer["choices"][0]["message"]["refusal"], Value::Null);
    let calls = json!([
        {"role": "user", "content": " t9"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "a", "content": " t20"},
    ]);
    assert_eq!(
        server()
            .post(CHAT, &json!({"messages": calls, "max_tokens": 1}))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn unknown_fields() {
    let server = server();
    let reply = server
        .post(CHAT, &count_from_ten(json!({"field_of_next_year": [1]})))
        .await;
    assert_eq!(reply.status, 200);
    let reply = server
        .post(CHAT, &count_from_ten(json!({"temperature": "hot"})))
        .await;
    let (status, param, code, message) = reply.error();
    assert_eq!((status, param.as_deref()), (400, Some("temperature")));
    assert_eq!(code.as_deref(), Some("invalid_type"));
    assert!(
        message.contains("`temperature`: invalid type: string \"hot\""),
        "{message}"
    );
}

#[tokio::test]
async fn chat_logprobs() {
    let server = server();
    let request = count_from_ten(json!({"logprobs": true, "top_logprobs": 2}));
    let answer = server.post(CHAT, &request).await.json();
    let content = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 4);
    assert_eq!(content[0]["token"], " t11");
    assert_eq!(content[0]["bytes"], json!([32, 116, 49, 49]));
    assert_eq!(content[0]["top_logprobs"][0]["token"], " t11");
    assert_eq!(content[0]["top_logprobs"][1]["token"], " t12");
    // softmax of one 8, one 6 and 126 zeros
    let expected = 8.0 - (8_f64.exp() + 6_f64.exp() + 126.0).ln();
    assert!((content[0]["logprob"].as_f64().unwrap() - expected).abs() < 1e-5);

    let mut request = request;
    request["stream"] = true.into();
    let chunks = server.post(CHAT, &request).await.chunks();
    let streamed = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(&streamed.flatten().cloned().collect::<Vec<_>>(), content);

    let reply = server
        .post(
            CHAT,
            &count_from_ten(json!({"logprobs": true, "top_logprobs": 21})),
        )
        .await;
    assert_eq!(
        (reply.error().0, reply.error().1.as_deref()),
        (400, Some("top_logprobs"))
    );
}

#[tokio::test]
async fn legacy_logprobs() {
    let server = server();
    let request = json!({
        "prompt": [10, 11, 13], "echo": true, "logprobs": 1, "max_tokens": 2, "temperature": 0,
    });
    let answer = server.post(COMPLETIONS, &request).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], " t10 t11 t13 t14 t15");
    let logprobs = &choice["logprobs"];
    assert_eq!(
        logprobs["tokens"],
        json!([" t10", " t11", " t13", " t14", " t15"])
    );
    assert_eq!(logprobs["text_offset"], json!([0, 4, 8, 12, 16]));
    let likely = 8.0 - (8_f64.exp() + 6_f64.exp() + 126.0).ln();
    let token_logprobs = logprobs["token_logprobs"].as_array().unwrap();
    assert_eq!(token_logprobs[0], Value::Null);
    let expected = [likely, likely - 2.0, likely, likely];
    for (found, expected) in token_logprobs[1..].iter().zip(expected) {
        assert!(
            (found.as_f64().unwrap() - expected).abs() < 1e-5,
            "{token_logprobs:?}"
        );
    }
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    // The token of the prompt is not the likeliest: both are there.
    let keys: Vec<&String> = logprobs["top_logprobs"][2]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(keys, [" t12", " t13"]);

    let mut request = request;
    request["stream"] = true.into();
    let chunks = server.post(COMPLETIONS, &request).await.chunks();
    assert_eq!(content_of(&chunks, 0), choice["text"].as_str().unwrap());
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let streamed = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["logprobs"][list].as_array());
        assert_eq!(
            Value::Array(streamed.flatten().cloned().collect()),
            logprobs[list]
        );
    }
}

#[tokio::test]
async fn stop_strings() {
    let server = server();
    // The string lies across two tokens, its beginning occurs before, and another comes later.
    let request = count_from_ten(json!({"stop": [" t15", "3 t1", "nothing"], "max_tokens": 10}));
    let answer = server.post(CHAT, &request).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], " t11 t12 t1");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 4);

    let mut streamed = request.clone();
    streamed["stream"] = true.into();
    let chunks = server.post(CHAT, &streamed).await.chunks();
    assert_eq!(content_of(&chunks, 0), " t11 t12 t1");
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );

    let mut included = request;
    included["include_stop_str_in_output"] = true.into();
    let answer = server.post(CHAT, &included).await.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        " t11 t12 t13 t1"
    );

    // What only began like a stop string is flushed at the end.
    let held = count_from_ten(json!({"stop": "t14 t99", "stream": true}));
    let chunks = server.post(CHAT, &held).await.chunks();
    assert_eq!(content_of(&chunks, 0), " t11 t12 t13 t14");
}

#[tokio::test]
async fn utf_8() {
    // Of this model, each token is a byte.
    let text = "dé€🦀 e\u{301}";
    let server = saying(text, PLAIN);
    let mut request = json!({"messages": [{"role": "user", "content": "?"}], "stream": true});
    let chunks = server.post(CHAT, &request).await.chunks();
    let deltas = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    let deltas: Vec<&str> = deltas.filter(|delta| !delta.is_empty()).collect();
    // No character is sent before it is whole.
    let characters: Vec<String> = text.chars().map(String::from).collect();
    assert_eq!(deltas, characters);

    // What is half a character at the end is lost, and nothing else is.
    for (max_tokens, expected) in [(1, "d"), (2, "d\u{fffd}"), (3, "dé"), (9, "dé€\u{fffd}")] {
        request["max_tokens"] = max_tokens.into();
        request["stream"] = true.into();
        let chunks = server.post(CHAT, &request).await.chunks();
        assert_eq!(content_of(&chunks, 0), expected, "{max_tokens} tokens");
        request["stream"] = false.into();
        let answer = server.post(CHAT, &request).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], expected);
    }
}

#[tokio::test]
async fn n_greater_than_one() {
    let server = server();
    let answer = server
        .post(CHAT, &count_from_ten(json!({"n": 3})))
        .await
        .json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(
        choices
            .iter()
            .map(|choice| &choice["index"])
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(
        choices
            .iter()
            .all(|choice| choice["message"]["content"] == " t11 t12 t13 t14")
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 1);
    assert_eq!(answer["usage"]["completion_tokens"], 12);

    let request = count_from_ten(json!({"n": 2, "stream": true}));
    let chunks = server.post(CHAT, &request).await.chunks();
    let indices: Vec<u64> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap())
        .collect();
    assert!(
        indices.windows(2).filter(|pair| pair[0] != pair[1]).count() > 2,
        "{indices:?}"
    );
    assert_eq!(
        (content_of(&chunks, 0), content_of(&chunks, 1)),
        (content_of(&chunks, 1), " t11 t12 t13 t14".into())
    );
}

#[tokio::test]
async fn too_long() {
    let config = EngineConfig {
        max_model_len: 32,
        ..EngineConfig::default()
    };
    let server = server_with(config, std::time::Duration::ZERO, |_| {});
    let long = json!({"messages": [{"role": "user", "content": " t5".repeat(40)}]});
    let (status, param, code, message) = server.post(CHAT, &long).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("messages")));
    assert_eq!(code.as_deref(), Some("context_length_exceeded"));
    assert!(
        message.contains("32") && message.contains("40"),
        "{message}"
    );

    // A bound is no demand: the answer ends where the context does.
    let request = json!({"prompt": " t5", "max_tokens": 32});
    let answer = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 31);
    // A least number is one.
    let request = json!({"prompt": " t5", "min_tokens": 32});
    let (status, param, _, _) = server.post(COMPLETIONS, &request).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("min_tokens")));
}

#[tokio::test]
async fn seed() {
    let server = server();
    let answer = |seed: i64| {
        let request = count_from_ten(json!({
            "seed": seed, "temperature": 1.5, "max_tokens": 40, "logit_bias": {"99": -100},
        }));
        let server = &server;
        async move { server.post(CHAT, &request).await.json() }
    };
    let first = answer(7).await;
    assert_eq!(first["choices"], answer(7).await["choices"]);
    assert_ne!(first["choices"], answer(-8).await["choices"]);
    assert_eq!(first["system_fingerprint"], "fp_test");
}
