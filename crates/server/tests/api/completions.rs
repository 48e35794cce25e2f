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
async fn a_prompts_log_probabilities_have_vllms_shape() {
    let server = server();
    let mut request = json!({"prompt": [" t10 t11", " t10 t50"], "max_tokens": 1,
        "prompt_logprobs": 2});
    let answer = server.post(COMPLETIONS, &request).await.json();
    let of_prompt = |i: usize| answer["choices"][i]["prompt_logprobs"].clone();
    // softmax of one 8, one 6 and 126 zeros
    let log_total = (8_f64.exp() + 6_f64.exp() + 126.0).ln();
    let check = |entry: &Value, logit: f64, rank: usize, text: &str| {
        assert!((entry["logprob"].as_f64().unwrap() - (logit - log_total)).abs() < 1e-5);
        assert_eq!(entry["rank"], rank);
        assert_eq!(entry["decoded_token"], text);
    };
    let expected = of_prompt(0);
    assert_eq!(
        (expected.as_array().unwrap().len(), &expected[0]),
        (2, &Value::Null)
    );
    assert_eq!(expected[1].as_object().unwrap().len(), 2);
    check(&expected[1]["11"], 8.0, 1, " t11");
    check(&expected[1]["12"], 6.0, 2, " t12");
    // Behind the two likeliest: the 51st of equals, two of which rank higher.
    let unlikely = of_prompt(1);
    assert_eq!(unlikely[1].as_object().unwrap().len(), 3);
    check(&unlikely[1]["50"], 0.0, 51, " t50");

    // Each of the two reports has as many alternatives as it was asked for.
    request["echo"] = true.into();
    request["logprobs"] = 1.into();
    let echoed = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(echoed["choices"][0]["prompt_logprobs"], expected);
    let top = &echoed["choices"][0]["logprobs"]["top_logprobs"];
    assert_eq!(top[1].as_object().unwrap().len(), 1);

    let mut chat = json!({"messages": [{"role": "user", "content": " t10"}], "max_tokens": 1,
        "prompt_logprobs": 0});
    let answer = server.post("/v1/chat/completions", &chat).await.json();
    let places = answer["prompt_logprobs"].as_array().unwrap();
    assert_eq!(answer["usage"]["prompt_tokens"], places.len());
    assert!(places[0].is_null());
    assert!(
        places[1..]
            .iter()
            .all(|place| place.as_object().unwrap().len() == 1)
    );
    for (field, value) in [("stream", json!(true)), ("prompt_logprobs", json!(21))] {
        chat[field] = value;
        let (status, param, _, _) = server.post("/v1/chat/completions", &chat).await.error();
        assert_eq!((status, param.as_deref()), (400, Some("prompt_logprobs")));
        chat["stream"] = false.into();
    }
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

#[tokio::test]
async fn the_best_of_several_answers_is_returned() {
    let server = server();
    let request = json!({"prompt": " t10", "max_tokens": 8, "temperature": 2.0, "seed": 5,
        "n": 1, "best_of": 8, "logprobs": 0, "top_k": 2});
    let best = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(best["usage"]["completion_tokens"], 64);
    let mut all = request.clone();
    (all["n"], all["best_of"]) = (8.into(), 8.into());
    let all = server.post(COMPLETIONS, &all).await.json();
    let mean = |choice: &Value| {
        let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        logprobs.iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / logprobs.len() as f64
    };
    let means: Vec<f64> = all["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(mean)
        .collect();
    let highest = means.iter().copied().fold(f64::MIN, f64::max);
    assert!(means.iter().any(|mean| *mean < highest), "{means:?}");
    assert_eq!(mean(&best["choices"][0]), highest);
    assert_eq!(best["choices"].as_array().unwrap().len(), 1);

    for (fields, param) in [
        (json!({"prompt": "x", "n": 2, "best_of": 1}), "best_of"),
        (
            json!({"prompt": "x", "best_of": 2, "stream": true}),
            "best_of",
        ),
        (json!({"prompt": "x", "best_of": 0}), "best_of"),
        (json!({"prompt": "x", "suffix": "y"}), "suffix"),
    ] {
        let (status, named, _, _) = server.post(COMPLETIONS, &fields).await.error();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{fields}");
    }
}

#[tokio::test]
async fn bad_words_are_not_said() {
    let server = server();
    let mut request = json!({"prompt": " t10", "max_tokens": 3, "bad_words": ["t12"]});
    let answer = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(answer["choices"][0]["text"], " t11 t13 t14");
    // A word of several tokens: only its last is impossible, and only behind the others.
    request["bad_words"] = json!([" t12 t13"]);
    let answer = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(answer["choices"][0]["text"], " t11 t12 t14");
    // What the prompt says does not count.
    request["bad_words"] = json!(["t10 t11"]);
    let answer = server.post(COMPLETIONS, &request).await.json();
    assert_eq!(answer["choices"][0]["text"], " t11 t12 t13");
    for words in [json!([""]), json!(vec!["x"; 1025]), json!("x")] {
        request["bad_words"] = words;
        let (status, param, _, _) = server.post(COMPLETIONS, &request).await.error();
        assert_eq!((status, param.as_deref()), (400, Some("bad_words")));
    }
}

#[tokio::test]
async fn tokens_are_named_by_their_ids_if_asked_for() {
    let request = json!({"prompt": " t10", "max_tokens": 2, "logprobs": 1,
        "return_tokens_as_token_ids": true});
    let answer = server().post(COMPLETIONS, &request).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["token_id:11", "token_id:12"]));
    assert!(logprobs["top_logprobs"][0]["token_id:11"].is_number());
}

#[tokio::test]
async fn an_answer_tells_how_long_it_took_if_asked_for() {
    let server = server();
    let mut request = json!({"prompt": " t10 t11", "max_tokens": 3, "timings": true});
    let timings = server.post(COMPLETIONS, &request).await.json()["timings"].clone();
    assert_eq!(
        (&timings["prompt_n"], &timings["predicted_n"]),
        (&json!(2), &json!(3))
    );
    assert!(timings["predicted_per_second"].as_f64().unwrap() > 0.0);
    request["stream"] = true.into();
    let chunks = server.post(COMPLETIONS, &request).await.chunks();
    let told: Vec<bool> = chunks
        .iter()
        .map(|chunk| chunk.get("timings").is_some())
        .collect();
    assert_eq!(told.iter().filter(|told| **told).count(), 1);
    assert_eq!(told.last(), Some(&true));
    let chat = json!({"messages": [{"role": "user", "content": " t10"}], "max_tokens": 1, "timings": true});
    let timings = server.post("/v1/chat/completions", &chat).await.json()["timings"].clone();
    assert_eq!(timings["predicted_n"], 1);
}

#[tokio::test]
async fn more_answers_than_may_run_are_given() {
    let config = matou_engine::EngineConfig {
        max_num_seqs: 3,
        ..matou_engine::EngineConfig::default()
    };
    let server = crate::support::server_with(config, std::time::Duration::ZERO, |_| {});
    let request = json!({"prompt": " t10", "max_tokens": 2, "n": 40});
    let answer = server.post(COMPLETIONS, &request).await.json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 40);
    assert!(choices.iter().all(|choice| choice["text"] == " t11 t12"));
    assert_eq!(answer["usage"]["completion_tokens"], 80);
}
