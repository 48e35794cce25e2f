//! `/v1/embeddings`, on a model whose hidden state is the token's id and one.

use serde_json::{Value, json};

use crate::support::server;

const EMBEDDINGS: &str = "/v1/embeddings";

/// The mean of `ids` and one, scaled to length 1.
fn expected(ids: &[f64]) -> Vec<f64> {
    let mean = ids.iter().sum::<f64>() / ids.len() as f64;
    let length = mean.hypot(1.0);
    vec![mean / length, 1.0 / length]
}

fn numbers(embedding: &Value) -> Vec<f64> {
    let numbers = embedding
        .as_array()
        .unwrap_or_else(|| panic!("{embedding}"));
    numbers
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[tokio::test]
async fn texts_and_tokens_become_unit_vectors() {
    let server = server();
    let request = json!({"model": "counter", "input": [" t10 t20", " t5"]});
    let answer = server.post(EMBEDDINGS, &request).await.json();
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("list"), &json!("counter"))
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
    let data = answer["data"].as_array().unwrap();
    assert_eq!(
        (&data[0]["object"], &data[1]["index"]),
        (&json!("embedding"), &json!(1))
    );
    assert_close(&numbers(&data[0]["embedding"]), &expected(&[10.0, 20.0]));
    assert_close(&numbers(&data[1]["embedding"]), &expected(&[5.0]));
    for input in [json!(" t5"), json!([5]), json!([[5]])] {
        let again = server
            .post(EMBEDDINGS, &json!({"input": input, "dimensions": 2}))
            .await
            .json();
        assert_eq!(again["data"][0]["embedding"], data[1]["embedding"]);
    }
}

#[tokio::test]
async fn a_long_text_is_read_in_chunks_and_not_from_the_cache() {
    let server = server();
    let text = " t7".repeat(1500);
    for _ in 0..2 {
        let answer = server
            .post(EMBEDDINGS, &json!({"input": text}))
            .await
            .json();
        assert_close(&numbers(&answer["data"][0]["embedding"]), &expected(&[7.0]));
    }
}

#[tokio::test]
async fn base64_holds_the_same_floats() {
    let server = server();
    let request = json!({"input": " t3", "encoding_format": "base64"});
    let answer = server.post(EMBEDDINGS, &request).await.json();
    // 3/√10 and 1/√10.
    assert_eq!(answer["data"][0]["embedding"], "6dxyP5vooT4=");
}

#[tokio::test]
async fn more_texts_than_may_run_are_embedded_in_order() {
    let server = server();
    let ids: Vec<u32> = (0..400).map(|i| 3 + i % 90).collect();
    let input: Vec<[u32; 1]> = ids.iter().map(|id| [*id]).collect();
    let answer = server
        .post(EMBEDDINGS, &json!({"input": input}))
        .await
        .json();
    let data = answer["data"].as_array().unwrap();
    for (id, found) in ids.iter().zip(data) {
        assert_close(&numbers(&found["embedding"]), &expected(&[f64::from(*id)]));
    }
    assert_eq!(data.len(), 400);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let server = server();
    let long = " t5".repeat(5000);
    let many: Vec<&str> = vec!["x"; 2049];
    let cases = [
        (json!({}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [1, "x"]}), "input"),
        (json!({"input": [-1]}), "input[0]"),
        (json!({"input": [128]}), "input"),
        (json!({"input": many}), "input"),
        (json!({"input": long}), "input"),
        (json!({"input": "x", "dimensions": 1}), "dimensions"),
        (
            json!({"input": "x", "encoding_format": "int8"}),
            "encoding_format",
        ),
    ];
    for (request, expected) in cases {
        let (status, param, _, message) = server.post(EMBEDDINGS, &request).await.error();
        assert_eq!(
            (status, param.as_deref()),
            (400, Some(expected)),
            "{message}"
        );
    }
    let failing = server.post(EMBEDDINGS, &json!({"input": [99]})).await;
    assert_eq!(failing.error().0, 500);
}
