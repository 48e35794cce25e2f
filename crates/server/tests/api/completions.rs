//! `/v1/completions` beyond the topics of `wire`.

use serde_json::{Value, json};

use crate::support::{CREATED, server};

const COMPLETIONS: &str = "/v1/completions";

#[tokio::test]
async fn a_whole_answer_has_openais_shape() {
    let request = json!({"model": "org/alias", "prompt": " t10 t11", "max_tokens": 1});
    let answer = server().post(COMPLETIONS, &request).await.json();
    let expected = json!({
        "id": "cmpl-test",
        "object": "text_completion",
        "created": CREATED,
        "model": "counter",
        "system_fingerprint": "fp_test",
        "choices": [{"index": 0, "text": " t12", "logprobs": null, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 1,
            "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn every_shape_of_prompt_is_answered() {
    let server = server();
    let cases = [
        (json!(" t10"), vec![" t11"]),
        (json!([" t10", " t20"]), vec![" t11", " t21"]),
        (json!([10, 20]), vec![" t21"]),
        (json!([[10], [20, 30], [40]]), vec![" t11", " t31", " t41"]),
    ];
    for (prompt, expected) in cases {
        let request = json!({"prompt": prompt, "max_tokens": 1});
        let answer = server.post(COMPLETIONS, &request).await.json();
        let choices = answer["choices"].as_array().unwrap();
        let texts: Vec<&str> = choices
            .iter()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(texts, expected);
    }
}

#[tokio::test]
async fn several_prompts_and_several_answers_are_numbered_prompt_first() {
    let request = json!({"prompt": [" t10", " t20"], "n": 2, "max_tokens": 2, "echo": true});
    let server = server();
    let answer = server.post(COMPLETIONS, &request).await.json();
    let texts: Vec<&Value> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| &choice["text"])
        .collect();
    assert_eq!(
        texts,
        [
            " t10 t11 t12",
            " t10 t11 t12",
            " t20 t21 t22",
            " t20 t21 t22"
        ]
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens"], 8);

    let mut streamed = request;
    streamed["stream"] = true.into();
    let chunks = server.post(COMPLETIONS, &streamed).await.chunks();
    for (index, expected) in texts.into_iter().enumerate() {
        let choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let of_index = choices.filter(|choice| choice["index"] == index);
        let text: String = of_index
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, expected.as_str().unwrap());
    }
}

#[tokio::test]
async fn no_tokens_with_echo_scores_the_prompt_alone() {
    let request = json!({"prompt": " t10 t11", "max_tokens": 0, "echo": true, "logprobs": 0});
    let answer = server().post(COMPLETIONS, &request).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], " t10 t11");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["logprobs"]["tokens"], json!([" t10", " t11"]));
    assert_eq!(
        choice["logprobs"]["top_logprobs"][1]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(answer["usage"]["completion_tokens"], 0);
}

#[tokio::test]
async fn log_probabilities_end_where_a_stop_string_cuts_the_text() {
    let request = json!({"prompt": " t10", "stop": "t13", "logprobs": 0, "max_tokens": 9});
    let answer = server().post(COMPLETIONS, &request).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], " t11 t12 ");
    assert_eq!(
        choice["logprobs"]["tokens"],
        json!([" t11", " t12", " t13"])
    );
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 4, 8]));
    let request = json!({"prompt": " t10", "stop": " t13", "logprobs": 0, "max_tokens": 9});
    let answer = server().post(COMPLETIONS, &request).await.json();
    assert_eq!(
        answer["choices"][0]["logprobs"]["tokens"],
        json!([" t11", " t12"])
    );
}
