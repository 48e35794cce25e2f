//! `/v1/chat/completions` beyond the topics of `wire`.

use matou_engine::EngineConfig;
use serde_json::json;

use crate::snapshot::assert_recorded;
use crate::spelling::{PLAIN, saying};
use crate::support::{CREATED, Reply, server, server_with};
use crate::wire::{content_of, count_from_ten};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_whole_answer_has_openais_shape() {
    let request = json!({"model": "counter", "messages": [
        {"role": "system", "content": " t3"},
        {"role": "user", "content": [{"type": "text", "text": " t4"}]},
    ], "max_completion_tokens": 2});
    let answer = server().post(CHAT, &request).await.json();
    let expected = json!({
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": CREATED,
        "model": "counter",
        "system_fingerprint": "fp_test",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": " t5 t6", "refusal": null},
            "logprobs": null,
            "finish_reason": "length",
        }],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 2,
            "total_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "service_tier": "default",
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_second_turn_reports_what_was_cached() {
    let server = server();
    let turn =
        json!({"messages": [{"role": "user", "content": " t5".repeat(40)}], "max_tokens": 1});
    assert_eq!(
        server.post(CHAT, &turn).await.json()["usage"]["prompt_tokens_details"]["cached_tokens"],
        0
    );
    let usage = &server.post(CHAT, &turn).await.json()["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 32);
}

#[tokio::test]
async fn sampling_parameters_reach_the_engine() {
    let server = server();
    let ask = |fields: serde_json::Value| {
        let mut request =
            json!({"messages": [{"role": "user", "content": " t10"}], "max_tokens": 2});
        request
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let server = &server;
        async move {
            let answer = server.post(CHAT, &request).await.json();
            answer["choices"][0]["message"]["content"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        }
    };
    assert_eq!(ask(json!({"logit_bias": {"11": -100}})).await, " t12 t13");
    assert_eq!(ask(json!({"logit_bias": {"50": 100}})).await, " t50 t50");
    assert_eq!(ask(json!({"stop_token_ids": [12]})).await, " t11");
    assert_eq!(
        ask(json!({"stop_token_ids": [12], "include_stop_str_in_output": true})).await,
        " t11 t12"
    );
    assert_eq!(
        ask(json!({"allowed_token_ids": [12, 20]})).await,
        " t12 t12"
    );
    assert_eq!(
        ask(json!({"stop": "t11", "min_tokens": 2})).await,
        " t11 t12"
    );
    let last = json!({"messages": [{"role": "user", "content": " t127"}], "ignore_eos": true, "max_tokens": 2});
    assert_eq!(ask(last).await, " t3");
}

#[tokio::test]
async fn an_answer_without_a_limit_ends_with_the_context() {
    let config = EngineConfig {
        max_model_len: 20,
        ..EngineConfig::default()
    };
    let server = server_with(config, std::time::Duration::ZERO, |_| {});
    let request = json!({"messages": [{"role": "user", "content": " t10"}]});
    let answer = server.post(CHAT, &request).await.json();
    assert_eq!(answer["usage"]["total_tokens"], 20);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn an_open_last_message_is_continued() {
    let request = json!({"messages": [
        {"role": "user", "content": " t10"},
        {"role": "assistant", "content": " t20"},
    ], "continue_final_message": true, "max_tokens": 1});
    let answer = server().post(CHAT, &request).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], " t21");
}

#[tokio::test]
async fn streams_are_recorded() {
    let options = json!({"include_usage": true});
    let mut request = json!({"messages": [{"role": "user", "content": " t10"}], "max_tokens": 3,
        "stream": true, "stream_options": options, "logprobs": true, "top_logprobs": 1});
    assert_recorded("openai-chat", &server().post(CHAT, &request).await);
    request = json!({"prompt": " t10", "max_tokens": 2, "n": 2, "stream": true, "echo": true});
    let reply = server_with(one_at_a_time(), std::time::Duration::ZERO, |_| {})
        .post("/v1/completions", &request)
        .await;
    assert_recorded("openai-completions", &reply);
    let said = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let request =
        json!({"messages": [{"role": "user", "content": "?"}], "tools": tools, "stream": true});
    let template = format!("{PLAIN}{{% if false %}}{{{{ tools }}}}<tool_call>{{% endif %}}");
    assert_recorded(
        "openai-calls",
        &saying(said, &template).post(CHAT, &request).await,
    );
}

/// Answers come in the order of their index.
fn one_at_a_time() -> EngineConfig {
    EngineConfig {
        max_num_seqs: 1,
        ..EngineConfig::default()
    }
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole_answer() {
    let server = server();
    let fields = [
        json!({}),
        json!({"stop": "t13"}),
        json!({"stop": ["4", "t12 t1"], "n": 2}),
        json!({"temperature": 1.5, "seed": 3, "max_tokens": 30, "n": 2, "logit_bias": {"99": -100}}),
        json!({"max_tokens": 1}),
        json!({
            "messages": [{"role": "user", "content": " t120"}],
            "skip_special_tokens": false, "ignore_eos": true, "max_tokens": 20,
        }),
    ];
    for fields in fields {
        let whole = server
            .post(CHAT, &count_from_ten(fields.clone()))
            .await
            .json();
        let mut streamed = count_from_ten(fields);
        streamed["stream"] = true.into();
        let chunks = server.post(CHAT, &streamed).await.chunks();
        for choice in whole["choices"].as_array().unwrap() {
            let content = content_of(&chunks, choice["index"].as_u64().unwrap());
            assert_eq!(
                content,
                choice["message"]["content"].as_str().unwrap(),
                "{streamed}"
            );
        }
    }
}

#[tokio::test]
async fn a_recorded_stream() {
    let request = count_from_ten(json!({
        "max_tokens": 2, "stream": true, "stream_options": {"include_usage": true},
    }));
    let Reply { text, .. } = server().post(CHAT, &request).await;
    let head = r#""id":"chatcmpl-test","object":"chat.completion.chunk","created":1700000000,"model":"counter","system_fingerprint":"fp_test""#;
    let expected = [
        r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null"#,
        r#""choices":[{"index":0,"delta":{"content":" t11"},"logprobs":null,"finish_reason":null}],"usage":null"#,
        r#""choices":[{"index":0,"delta":{"content":" t12"},"logprobs":null,"finish_reason":null}],"usage":null"#,
        r#""choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null"#,
        r#""choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}"#,
    ];
    let frames = expected
        .map(|rest| format!("data: {{{head},{rest}}}\n\n"))
        .concat();
    assert_eq!(text, frames + "data: [DONE]\n\n");
}
