//! Ollama's API.

use serde_json::{Value, json};

use crate::snapshot::assert_recorded;
use crate::spelling::{HERMES, PLAIN, THINKING, saying};
use crate::support::{Reply, server, with};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";
fn count_from_ten(fields: Value) -> Value {
    let messages = json!([{"role": "user", "content": " t10"}]);
    with(
        json!({"model": "counter:latest", "messages": messages, "options": {"num_predict": 3}}),
        fields,
    )
}

fn weather(fields: Value) -> Value {
    let function = json!({"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}});
    let messages = json!([{"role": "user", "content": "?"}]);
    let tools = json!([{"type": "function", "function": function}]);
    with(
        json!({"messages": messages, "tools": tools, "options": {"num_predict": 300}}),
        fields,
    )
}

#[tokio::test]
async fn a_whole_answer_has_ollamas_shape() {
    let reply = server()
        .post(CHAT, &count_from_ten(json!({"stream": false})))
        .await;
    let mut answer = reply.json();
    for name in ["total_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(answer[name].as_u64().unwrap() > 0 || name != "total_duration");
        answer[name] = 0.into();
    }
    let expected = json!({
        "model": "counter:latest",
        "created_at": "2023-11-14T22:13:20Z",
        "message": {"role": "assistant", "content": " t11 t12 t13"},
        "done": true,
        "done_reason": "length",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": 1,
        "prompt_eval_duration": 0,
        "eval_count": 3,
        "eval_duration": 0,
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_stream_is_recorded() {
    let reply = server().post(CHAT, &count_from_ten(json!({}))).await;
    assert_eq!(reply.headers["content-type"], "application/x-ndjson");
    assert_recorded("ollama-chat", &reply);
    let request = json!({"prompt": " t10", "raw": true, "options": {"num_predict": 2}});
    assert_recorded("ollama-generate", &server().post(GENERATE, &request).await);
}

#[tokio::test]
async fn a_stream_with_calls_is_recorded() {
    let said =
        "So. <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>";
    let reply = saying(said, HERMES).post(CHAT, &weather(json!({}))).await;
    assert_recorded("ollama-calls", &reply);
}

#[tokio::test]
async fn thoughts_are_told_apart_and_turned_off() {
    let server = saying("Hm.</think>Yes.", THINKING);
    let request =
        json!({"messages": [{"role": "user", "content": "?"}], "think": true, "stream": false});
    let message = server.post(CHAT, &request).await.json()["message"].clone();
    assert_eq!(
        (&message["thinking"], &message["content"]),
        (&json!("Hm."), &json!("Yes."))
    );
    let request = json!({"prompt": "?", "think": false, "stream": false});
    let answer = saying("Yes.", THINKING)
        .post(GENERATE, &request)
        .await
        .json();
    assert_eq!(
        (&answer["response"], answer.get("thinking")),
        (&json!("Yes."), None)
    );
}

#[tokio::test]
async fn a_history_with_calls_is_what_the_template_reads() {
    let call = json!({"function": {"name": "weather", "arguments": {"city": "Ulm"}}});
    let messages = json!([
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_name": "weather"},
    ]);
    let server = saying("c", HERMES);
    let request = json!({"messages": messages, "stream": false});
    let answer = server.post(CHAT, &request).await.json();
    let expected = "<system>s<user>a<assistant><tool_call>{\"name\": \"weather\", \"arguments\": \
                    {\"city\": \"Ulm\"}}</tool_call><tool>b<assistant>";
    let text = json!({"prompt": expected, "add_special_tokens": false});
    let count = server.post("/tokenize", &text).await.json()["count"].clone();
    assert_eq!(answer["prompt_eval_count"], count);
}

#[tokio::test]
async fn format_and_options_are_obeyed() {
    let schema = json!({"type": "object", "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"], "additionalProperties": false});
    let request = json!({"prompt": "?", "format": schema, "stream": false});
    let answer = saying("no", PLAIN).post(GENERATE, &request).await.json();
    let value: Value = serde_json::from_str(answer["response"].as_str().unwrap()).unwrap();
    assert!([1, 2].contains(&value["n"].as_i64().unwrap()));

    let options =
        json!({"num_predict": -1, "stop": ["t13"], "num_ctx": 2048, "repeat_penalty": 1.0});
    let answer = server()
        .post(
            CHAT,
            &count_from_ten(json!({"stream": false, "options": options})),
        )
        .await
        .json();
    assert_eq!(
        (&answer["message"]["content"], &answer["done_reason"]),
        (&json!(" t11 t12 "), &json!("stop"))
    );
    let answer = server()
        .post(
            CHAT,
            &count_from_ten(json!({"stream": false, "logprobs": true})),
        )
        .await
        .json();
    assert_eq!(answer["logprobs"][0]["token"], " t11");
}

#[tokio::test]
async fn a_request_for_nothing_says_that_the_model_is_there() {
    let server = server();
    let answer = server
        .post(GENERATE, &json!({"model": "counter", "keep_alive": -1}))
        .await
        .json();
    assert_eq!(
        (&answer["done_reason"], &answer["response"]),
        (&json!("load"), &json!(""))
    );
    let answer = server.post(CHAT, &json!({"messages": []})).await.json();
    assert_eq!(
        (&answer["done"], &answer["message"]["content"]),
        (&json!(true), &json!(""))
    );
}

#[tokio::test]
async fn what_is_served_is_described() {
    let server = server();
    let tags = server.get("/api/tags").await.json();
    assert_eq!(tags["models"][0]["name"], "counter");
    assert_eq!(tags["models"][1]["model"], "org/alias");
    let ps = server.get("/api/ps").await.json();
    assert_eq!(ps["models"][0]["context_length"], 4096);
    let show = server
        .post("/api/show", &json!({"model": "counter:latest"}))
        .await
        .json();
    assert_eq!(
        show["capabilities"],
        json!(["completion", "embedding", "tools"])
    );
    assert_eq!(show["model_info"]["general.parameter_count"], 0);
    assert_eq!(
        server.get("/api/version").await.json()["matou_version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[tokio::test]
async fn texts_are_embedded() {
    let server = server();
    let answer = server
        .post("/api/embed", &json!({"input": [" t3", " t4"]}))
        .await
        .json();
    assert_eq!(answer["prompt_eval_count"], 2);
    let vectors = answer["embeddings"].as_array().unwrap();
    assert_eq!(
        (vectors.len(), vectors[0].as_array().unwrap().len()),
        (2, 2)
    );
    let answer = server
        .post("/api/embeddings", &json!({"prompt": " t3"}))
        .await
        .json();
    assert_eq!(answer["embedding"], vectors[0]);
}

fn error(reply: &Reply) -> (u16, String) {
    let json = reply.json();
    assert_eq!(
        json.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["error"]
    );
    (
        reply.status.as_u16(),
        json["error"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let server = server();
    let cases = [
        (
            json!({"messages": [{"role": "x", "content": "x"}]}),
            "`messages[0].role`",
        ),
        (
            json!({"messages": [{"role": "user", "images": ["x"]}]}),
            "`messages[0].images`",
        ),
        (
            json!({"options": {"temperature": "hot"}}),
            "`options.temperature`",
        ),
        (
            json!({"options": {"temperature": 9}}),
            "`options.temperature`",
        ),
        (
            json!({"options": {"repeat_last_n": -2}}),
            "`options.repeat_last_n`",
        ),
        (json!({"options": {"n": 2}}), "`options.n`"),
        (
            json!({"messages": [{"role": "user", "content": " t10".repeat(5000)}]}),
            "the input length exceeds the context length",
        ),
        (json!({"format": "xml"}), "`format`"),
        (json!({"think": "hard"}), "`think`"),
        (json!({"think": true}), "`think` is not supported"),
        (json!({"top_logprobs": 3}), "`top_logprobs`"),
        (json!({"stream": "yes"}), "`stream`"),
    ];
    for (fields, expected) in cases {
        let (status, message) = error(&server.post(CHAT, &count_from_ten(fields.clone())).await);
        assert_eq!(status, 400, "{fields}");
        assert!(message.contains(expected), "{fields}: {message}");
    }
    for raw in [json!({"raw": true}), json!({"suffix": "y"})] {
        for (field, value) in [("system", json!("s")), ("think", json!(true))] {
            let mut request = raw.clone();
            request["prompt"] = "x".into();
            request[field] = value;
            let (status, message) = error(&server.post(GENERATE, &request).await);
            assert!(
                status == 400 && message.contains(&format!("`{field}`")),
                "{message}"
            );
        }
    }
    for field in ["suffix", "template"] {
        let (status, message) = error(
            &server
                .post(GENERATE, &json!({"prompt": "x", field: "y"}))
                .await,
        );
        assert!(status == 400 && message.contains(field), "{message}");
    }
    assert_eq!(
        error(&server.post(CHAT, &json!({"model": "other"})).await).0,
        404
    );
    assert_eq!(error(&server.get("/api/none").await).0, 404);
}

#[tokio::test]
async fn a_gap_is_filled_as_completions_fill_it() {
    // What a model says when the gap is full is no part of what fills it.
    let server = saying("b<|fim_pad|>c", PLAIN);
    let gap = json!({"prompt": "a", "suffix": "c", "stream": false, "options": {"temperature": 0}});
    let answer = server.post(GENERATE, &gap).await.json();
    assert_eq!(
        (&answer["response"], &answer["done_reason"]),
        (&json!("b"), &json!("stop"))
    );
    // What begins every text, three marks, and a token for each byte.
    assert_eq!(answer["prompt_eval_count"], 6);

    let gap = json!({"prompt": "a", "suffix": "c", "prompt_logprobs": 0, "max_tokens": 9});
    let answer = server.post("/v1/completions", &gap).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!("b"), &json!("stop"))
    );
    let places = choice["prompt_logprobs"].as_array().unwrap();
    let read = places[1..].iter().map(|place| {
        let (_, token) = place.as_object().unwrap().iter().next().unwrap();
        token["decoded_token"].as_str().unwrap().to_owned()
    });
    let read: Vec<String> = read.collect();
    let expected = [
        "<|fim_prefix|>",
        "a",
        "<|fim_suffix|>",
        "c",
        "<|fim_middle|>",
    ];
    assert_eq!(read, expected);

    let shown = server.post("/api/show", &json!({})).await.json();
    assert!(
        shown["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("insert")),
        "{shown}"
    );
}
