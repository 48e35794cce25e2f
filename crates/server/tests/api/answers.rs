//! Answers in conversations that the server keeps: they are written whether anybody listens or not.

use std::time::Duration;

use futures_util::StreamExt;
use matou_engine::EngineConfig;
use matou_history::{History, NewMessage, Owner, Role, State};
use serde_json::{Value, json};

use crate::history::{delete, keeping, kept, said};
use crate::support::{Reply, TestServer, server_with, serving_with_history};

/// A server whose steps take so long that one can come between.
fn slow() -> TestServer {
    kept(Duration::from_millis(20), |_| {})
}

/// The opening of a stream, its chunks, and the text that they add up to.
fn read(reply: &Reply) -> (Value, Vec<Value>, String) {
    let mut chunks = reply.chunks();
    let opening = chunks.remove(0);
    assert_eq!(opening["object"], "history.answer");
    let texts = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    let text = texts.collect();
    (opening["message"].clone(), chunks, text)
}

#[tokio::test]
async fn an_answer_is_streamed_as_chat_completions_are_and_kept() {
    let server = keeping();
    let (id, question) = said(&server, " t120").await;
    let ask = json!({"parent": question, "max_tokens": 3, "logprobs": true, "top_logprobs": 2});
    let answers = format!("/v1/history/{id}/answers");
    let reply = server.post(&answers, &ask).await;
    let (message, chunks, text) = read(&reply);
    assert_eq!(
        (message["role"].as_str(), message["state"].as_str()),
        (Some("assistant"), Some("running"))
    );
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 3);

    // The same as anybody gets who asks for it without a history.
    let alone = json!({"messages": [{"role": "user", "content": " t120"}], "max_tokens": 3});
    let alone = server.post("/v1/chat/completions", &alone).await.json();
    assert_eq!(
        text,
        alone["choices"][0]["message"]["content"].as_str().unwrap()
    );

    let whole = server.get(&format!("/v1/history/{id}")).await.json();
    let messages = whole["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    let kept = &messages[1];
    assert_eq!(kept["content"], text.as_str());
    assert_eq!(kept["parent"], question.as_str());
    assert_eq!(
        (kept["state"].as_str(), kept["finish_reason"].as_str()),
        (Some("done"), Some("length"))
    );
    assert_eq!(
        (kept["model"].as_str(), kept["has_logprobs"].as_bool()),
        (Some("counter"), Some(true))
    );
    assert_eq!(kept["usage"]["completion_tokens"], 3);
    assert!(kept["timings"]["predicted_ms"].is_number());
    assert_eq!(kept["settings"], json!({"max_tokens": 3, "logprobs": true}));
    assert_eq!(whole["leaf"], kept["id"]);

    let path = format!("/v1/history/{id}/messages/{}", kept["id"].as_str().unwrap());
    let detail = server.get(&path).await.json();
    assert_eq!(detail["logprobs"]["content"].as_array().unwrap().len(), 3);
    assert_eq!(
        detail["request"]["messages"],
        json!([{"role": "user", "content": " t120"}])
    );
}

#[tokio::test]
async fn the_branch_that_is_answered_is_what_the_model_reads() {
    let server = keeping();
    let (id, first) = said(&server, " t50").await;
    let messages = format!("/v1/history/{id}/messages");
    let add = async |parent: &str, role: &str, text: &str| {
        let message = json!({"parent": parent, "role": role, "content": text});
        let added = server.post(&messages, &message).await.json();
        added["id"].as_str().unwrap().to_owned()
    };
    let answer = add(&first, "assistant", " t51").await;
    let one = add(&answer, "user", " t60").await;
    let other = add(&answer, "user", " t70").await;
    let answers = format!("/v1/history/{id}/answers");
    for (parent, said) in [(&one, " t60"), (&other, " t70")] {
        let ask = json!({"parent": parent, "max_tokens": 1, "system": "Count."});
        let (message, ..) = read(&server.post(&answers, &ask).await);
        let path = format!("{messages}/{}", message["id"].as_str().unwrap());
        let detail = server.get(&path).await.json();
        assert_eq!(
            detail["request"]["messages"],
            json!([
                {"role": "system", "content": "Count."},
                {"role": "user", "content": " t50"},
                {"role": "assistant", "content": " t51"},
                {"role": "user", "content": said},
            ])
        );
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_is_gone_on_with() {
    let server = keeping();
    let (id, question) = said(&server, " t40").await;
    let answers = format!("/v1/history/{id}/answers");
    let whole = server
        .post(&answers, &json!({"parent": question, "max_tokens": 6}))
        .await;
    let (_, _, whole) = read(&whole);
    let half = server
        .post(&answers, &json!({"parent": question, "max_tokens": 3}))
        .await;
    let (message, _, half) = read(&half);
    let ask = json!({"continue": message["id"], "max_tokens": 3});
    let (same, _, rest) = read(&server.post(&answers, &ask).await);
    assert_eq!(same["id"], message["id"]);
    assert_eq!(format!("{half}{rest}"), whole);
    let path = format!(
        "/v1/history/{id}/messages/{}",
        message["id"].as_str().unwrap()
    );
    let kept = server.get(&path).await.json();
    assert_eq!(
        (kept["content"].as_str(), kept["state"].as_str()),
        (Some(&*whole), Some("done"))
    );
}

#[tokio::test]
async fn an_answer_is_written_without_a_listener_and_read_by_who_comes_late() {
    let server = slow();
    let (id, question) = said(&server, " t20").await;
    let ask = json!({"parent": question, "max_tokens": 20});
    let mut body = server
        .open(&format!("/v1/history/{id}/answers"), &ask)
        .await
        .into_data_stream();
    let opening = body.next().await.unwrap().unwrap();
    let opening = String::from_utf8(opening.to_vec()).unwrap();
    let opening = opening.split("\n\n").next().unwrap();
    let opening: Value = serde_json::from_str(opening.strip_prefix("data: ").unwrap()).unwrap();
    let answer = opening["message"]["id"].as_str().unwrap().to_owned();
    drop(body);

    let path = format!("/v1/history/{id}/messages/{answer}");
    let running = server.get(&path).await.json();
    assert_eq!(running["state"], "running");
    let followed = server.get(&format!("{path}/stream")).await;
    let (_, _, text) = read(&followed);
    let kept = server.get(&path).await.json();
    assert_eq!(
        (kept["state"].as_str(), kept["content"].as_str()),
        (Some("done"), Some(&*text))
    );
    assert_eq!(kept["usage"]["completion_tokens"], 20);
    // A moment later still.
    let late = server.get(&format!("{path}/stream")).await;
    assert_eq!(late.text, followed.text);
    let path = format!("/v1/history/{id}/messages/none/stream");
    assert_eq!(server.get(&path).await.status, 404);
}

#[tokio::test]
async fn an_answer_that_is_stopped_keeps_what_there_is() {
    let server = slow();
    let (id, question) = said(&server, " t20").await;
    let ask = json!({"parent": question, "max_tokens": 100});
    let mut body = server
        .open(&format!("/v1/history/{id}/answers"), &ask)
        .await
        .into_data_stream();
    let mut read = String::new();
    while !read.contains(" t25") {
        let piece = body.next().await.unwrap().unwrap();
        read.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let whole = server.get(&format!("/v1/history/{id}")).await.json();
    let answer = whole["leaf"].as_str().unwrap().to_owned();
    let stop = format!("/v1/history/{id}/messages/{answer}/stop");
    assert_eq!(server.post(&stop, &json!({})).await.status, 200);
    while let Some(piece) = body.next().await {
        read.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    assert!(read.ends_with("data: [DONE]\n\n"));
    server.idle().await;
    let path = format!("/v1/history/{id}/messages/{answer}");
    let kept = server.get(&path).await.json();
    assert_eq!(kept["state"], "stopped");
    let text = kept["content"].as_str().unwrap();
    assert!(
        text.starts_with(" t21 t22") && !text.contains(" t99"),
        "{text}"
    );
    assert_eq!(server.post(&stop, &json!({})).await.status, 404);
}

/// As long as a test waits for what has to come.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} does not come");
}

#[tokio::test]
async fn what_there_is_of_an_answer_is_kept_while_it_is_written() {
    let history = History::in_memory().unwrap();
    let kept = history.clone();
    let server = server_with(
        EngineConfig::default(),
        Duration::from_millis(20),
        |state| {
            *state = state.clone().with_history(history);
        },
    );
    let (id, question) = said(&server, " t4").await;
    let own = format!("msg_{:032x}", 7);
    let ask = json!({"parent": question, "max_tokens": 120, "id": own, "logprobs": true});
    let body = server
        .open(&format!("/v1/history/{id}/answers"), &ask)
        .await;
    let everybody = Owner::new("everybody");
    let so_far = until("a checkpoint", async || {
        let detail = kept.message(&everybody, &id, &own).unwrap().unwrap();
        let text = detail.message.content.as_str().unwrap().to_owned();
        (!text.is_empty()).then_some((detail.message.state, text))
    });
    let (state, text) = so_far.await;
    assert_eq!(state, State::Running);
    assert!(text.starts_with(" t5 t6"), "{text}");
    // Deleted, it ends, and nobody reads it any more.
    let path = format!("/v1/history/{id}/messages/{own}");
    assert_eq!(server.get(&path).await.json()["state"], "running");
    assert_eq!(
        delete(&server, &format!("/v1/history/{id}")).await.status,
        200
    );
    assert_eq!(server.get(&format!("{path}/stream")).await.status, 404);
    server.idle().await;
    drop(body);
}

#[tokio::test]
async fn the_end_of_an_answer_says_how_it_ended() {
    let server = keeping();
    let (id, question) = said(&server, " t120").await;
    let answers = format!("/v1/history/{id}/answers");
    let reply = server
        .post(&answers, &json!({"parent": question, "max_tokens": 3}))
        .await;
    let (message, chunks, _) = read(&reply);
    let end = chunks
        .iter()
        .find(|chunk| chunk["object"] == "history.answer.end");
    let end = end.unwrap_or_else(|| panic!("{}", reply.text));
    assert_eq!(
        (&end["id"], end["state"].as_str()),
        (&message["id"], Some("done"))
    );
    assert!(end["timings"]["first_token_ms"].is_number(), "{end}");
    let path = format!(
        "/v1/history/{id}/messages/{}",
        message["id"].as_str().unwrap()
    );
    assert_eq!(server.get(&path).await.json()["timings"], end["timings"]);
    let whole = server.get(&format!("/v1/history/{id}")).await.json();
    assert_eq!(whole["pending"], json!([]));
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind_and_blocks_nothing() {
    let config = EngineConfig {
        max_model_len: 32,
        ..EngineConfig::default()
    };
    let server = serving_with_history(config, |_| {});
    let (id, question) = said(&server, &" t5".repeat(100)).await;
    let answers = format!("/v1/history/{id}/answers");
    // More often than answers can be written at a time.
    for _ in 0..20 {
        let reply = server.post(&answers, &json!({"parent": question})).await;
        let (status, _, code, _) = reply.error();
        assert_eq!(
            (status, code.as_deref()),
            (400, Some("context_length_exceeded"))
        );
    }
    let whole = server.get(&format!("/v1/history/{id}")).await.json();
    assert_eq!(whole["messages"].as_array().unwrap().len(), 1);
    assert_eq!(whole["leaf"], question.as_str());
}

#[tokio::test]
async fn only_a_models_text_is_gone_on_with() {
    let server = slow();
    let (id, question) = said(&server, " t5").await;
    let messages = format!("/v1/history/{id}/messages");
    let answers = format!("/v1/history/{id}/answers");
    for content in [json!([{"type": "text", "text": "parts"}]), json!("calls")] {
        let calls =
            json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let calls = content.is_string().then_some(calls);
        let message = json!({"parent": question, "role": "assistant", "content": content, "tool_calls": calls});
        let made = server.post(&messages, &message).await.json();
        let (status, param, ..) = server
            .post(&answers, &json!({"continue": made["id"]}))
            .await
            .error();
        assert_eq!(
            (status, param.as_deref()),
            (400, Some("continue")),
            "{made}"
        );
        let path = format!("{messages}/{}", made["id"].as_str().unwrap());
        assert_eq!(server.get(&path).await.json()["content"], content);
    }
    // Twice at once: the second is told to wait, and takes nothing from the first.
    let half = json!({"parent": question, "role": "assistant", "content": " t6"});
    let half = server.post(&messages, &half).await.json();
    let goes_on = json!({"continue": half["id"], "max_tokens": 10});
    let first = server.open(&answers, &goes_on).await;
    assert_eq!(server.post(&answers, &goes_on).await.status, 429);
    let text = axum::body::to_bytes(first, usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains(" t16"));
    let path = format!("{messages}/{}", half["id"].as_str().unwrap());
    let whole = server.get(&path).await.json();
    let content = whole["content"].as_str().unwrap();
    assert!(
        content.starts_with(" t6 t7") && content.ends_with(" t16"),
        "{content}"
    );
    assert_eq!(whole["state"], "done");
}

#[tokio::test]
async fn what_nobody_writes_any_more_was_interrupted() {
    let history = History::in_memory().unwrap();
    let everybody = Owner::new("everybody");
    let made = history.create(&everybody, &Default::default(), 1).unwrap();
    let running = NewMessage {
        state: State::Running,
        ..NewMessage::new(None, Role::Assistant, "half an ans")
    };
    history
        .add_message(&everybody, &made.id, &running, 1)
        .unwrap();
    let server = server_with(EngineConfig::default(), Duration::ZERO, |state| {
        *state = state.clone().with_history(history);
    });
    let whole = server.get(&format!("/v1/history/{}", made.id)).await.json();
    assert_eq!(whole["messages"][0]["state"], "interrupted");
    assert_eq!(whole["messages"][0]["content"], "half an ans");
}

#[tokio::test]
async fn what_fails_is_told_and_kept() {
    let server = keeping();
    let (id, question) = said(&server, " t97").await;
    let answers = format!("/v1/history/{id}/answers");
    // The step that reads the token 99 fails.
    let reply = server.post(&answers, &json!({"parent": question})).await;
    assert!(reply.text.contains("\"error\""), "{}", reply.text);
    let whole = server.get(&format!("/v1/history/{id}")).await.json();
    let failed = &whole["messages"][1];
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().unwrap().len() > 10);
    assert_eq!(failed["content"], " t98 t99");

    // What is wrong with a request leaves no message behind.
    for (ask, param) in [
        (
            json!({"parent": question, "temperature": -1}),
            Some("temperature"),
        ),
        (
            json!({"parent": question, "temperature": "hot"}),
            Some("temperature"),
        ),
        (
            json!({"parent": question, "messages": []}),
            Some("messages"),
        ),
        (json!({"parent": question, "n": 2}), Some("n")),
        (json!({"parent": question, "continue": question}), None),
        (json!({"continue": question}), Some("continue")),
        (json!({"parent": 5}), Some("parent")),
        (json!({}), None),
    ] {
        let (status, found, _, message) = server.post(&answers, &ask).await.error();
        assert_eq!((status, found.as_deref()), (400, param), "{ask}: {message}");
    }
    let unknown = server.post(&answers, &json!({"parent": "msg_0"})).await;
    assert_eq!(unknown.error().0, 404);
    let unknown = json!({"parent": question, "model": "no such model"});
    assert_eq!(server.post(&answers, &unknown).await.error().0, 404);
    let after = server.get(&format!("/v1/history/{id}")).await.json();
    assert_eq!(after["messages"].as_array().unwrap().len(), 2);
}
