//! What is carried over, and what is refused by which name.

use matou_engine::{ClientId, MirostatParams, SamplingParams};
use matou_llm::request::{ChatCall, GenerationOptions, PromptInput, TextOptions};
use serde_json::{Value, json};

use super::completion::CompletionCall;
use super::*;
use crate::body::JsonBody;
use crate::dialects::shared::convert::ResponseOptions;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;

fn body(json: &Value) -> JsonBody {
    JsonBody::of(json.to_string())
}

/// A chat request with `fields` beside a message.
fn chat_with(fields: Value) -> Result<ChatCall, ApiError> {
    Ok(chat_and_response_with(fields)?.0)
}

fn chat_and_response_with(fields: Value) -> Result<(ChatCall, ResponseOptions), ApiError> {
    let mut request = json!({"messages": [{"role": "user", "content": "hi"}]});
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    request.as_object_mut().unwrap().extend(fields);
    let (wire, shared): (_, SharedFields) = body(&request).read()?;
    chat_call(wire, &shared, &SamplingParams::default())
}

fn completion_with(fields: Value) -> Result<CompletionCall, ApiError> {
    let (wire, shared): (_, SharedFields) = body(&fields).read()?;
    completion_call(wire, &shared, &SamplingParams::default())
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, ApiError>, param: &str, says: &str) {
    let error = result.expect_err("the request is wrong");
    assert_eq!(error.param(), Some(param), "{error}");
    assert_eq!(error.status(), 400);
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn every_parameter_of_a_chat_request_is_carried_over() {
    let (call, response) = chat_and_response_with(
        serde_json::from_str(
            r#"{
        "model": "m", "temperature": 0.5, "top_p": 0.25, "max_completion_tokens": 7,
        "stop": ["a", "b"], "seed": -1, "n": 2, "logprobs": true, "top_logprobs": 3,
        "logit_bias": {"5": -100, "6": 1.5}, "presence_penalty": 1, "frequency_penalty": -1,
        "stream": true, "stream_options": {"include_usage": true}, "user": "u",
        "metadata": {"k": "v"}, "store": false, "service_tier": "auto", "top_k": 40, "min_p": 0.125,
        "typical_p": 0.5, "repetition_penalty": 1.5, "ignore_eos": true, "min_tokens": 2,
        "stop_token_ids": [9], "include_stop_str_in_output": true, "skip_special_tokens": false,
        "add_generation_prompt": false, "continue_final_message": true,
        "chat_template_kwargs": {"thinking": true}, "priority": -3, "cache_salt": "s", "xtc_probability": 0.5,
        "xtc_threshold": 0.25, "dry_multiplier": 0.5, "dry_base": 2, "dry_allowed_length": 3,
        "dry_penalty_last_n": 64, "dry_sequence_breakers": ["x"], "bad_words": ["y"], "mirostat": 2,
        "mirostat_tau": 4, "mirostat_eta": 0.5, "dynatemp_range": 0.25, "dynatemp_exponent": 2,
        "top_n_sigma": 1.5, "allowed_token_ids": [1, 2]
    }"#,
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!(
        response,
        ResponseOptions {
            stream: true,
            include_usage: true,
            timings: false,
        }
    );
    assert!(call.request.continue_final_message && !call.request.add_generation_prompt);
    assert_eq!(call.request.template_kwargs["thinking"], true);
    let expected = GenerationOptions {
        adapter: None,
        num_open_tokens: 0,
        sampling: SamplingParams {
            temperature: 0.5,
            dynatemp_range: 0.25,
            dynatemp_exponent: 2.0,
            top_k: Some(40),
            top_p: 0.25,
            min_p: 0.125,
            typical_p: 0.5,
            top_n_sigma: Some(1.5),
            xtc_probability: 0.5,
            xtc_threshold: 0.25,
            dry_multiplier: 0.5,
            dry_base: 2.0,
            dry_allowed_length: 3,
            dry_penalty_last_n: Some(64),
            mirostat: Some(MirostatParams { tau: 4.0, eta: 0.5 }),
            repetition_penalty: 1.5,
            presence_penalty: 1.0,
            frequency_penalty: -1.0,
            logit_bias: vec![(5, -100.0), (6, 1.5)],
            min_tokens: 2,
            max_tokens: Some(7),
            ignore_eos: true,
            stop_token_ids: vec![9],
            allowed_token_ids: Some(vec![1, 2]),
            seed: Some(u64::MAX),
            logprobs: Some(3),
            ..SamplingParams::default()
        },
        dry_sequence_breakers: vec!["x".to_owned()],
        bad_words: vec!["y".to_owned()],
        n: 2,
        priority: -3,
        cache_salt: Some("s".into()),
        client: ClientId::default(),
        text: TextOptions {
            tokens_as_ids: false,
            stop: vec!["a".to_owned(), "b".to_owned()],
            include_stop_str_in_output: true,
            keep_special_tokens: true,
            continues_prompt: true,
        },
    };
    assert_eq!(call.options, expected);
}

#[test]
fn an_explicit_null_means_the_default() {
    let nulls: Vec<(&str, Value)> = [
        "model",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "seed",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "service_tier",
        "top_k",
        "min_p",
        "min_tokens",
        "stop_token_ids",
        "chat_template_kwargs",
        "priority",
        "tools",
        "tool_choice",
        "response_format",
        "best_of",
        "mirostat",
    ]
    .map(|field| (field, Value::Null))
    .to_vec();
    let with_nulls =
        chat_with(nulls.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()).unwrap();
    assert_eq!(with_nulls, chat_with(json!({})).unwrap());
}

#[test]
fn silence_means_the_models_own_sampling() {
    let defaults = SamplingParams {
        temperature: 0.25,
        top_k: Some(20),
        ..SamplingParams::default()
    };
    let request = body(&json!({"messages": [{"role": "user", "content": "hi"}], "top_k": 5}));
    let (wire, shared): (_, SharedFields) = request.read().unwrap();
    let (call, _) = chat_call(wire, &shared, &defaults).unwrap();
    let sampling = call.options.sampling;
    assert_eq!((sampling.temperature, sampling.top_k), (0.25, Some(5)));
}

#[test]
fn unknown_fields_are_ignored() {
    chat_with(json!({"a_field_of_next_year": {"x": 1}})).unwrap();
}

#[test]
fn each_value_out_of_range_is_refused_by_name() {
    let cases = [
        (
            json!({"temperature": -0.1}),
            "temperature",
            "between 0 and 2, got -0.1",
        ),
        (json!({"temperature": 2.5}), "temperature", "got 2.5"),
        (json!({"top_p": 1.1}), "top_p", "between 0 and 1"),
        (
            json!({"presence_penalty": 3}),
            "presence_penalty",
            "between -2 and 2",
        ),
        (
            json!({"frequency_penalty": -3}),
            "frequency_penalty",
            "between -2 and 2",
        ),
        (
            json!({"max_tokens": -1}),
            "max_tokens",
            "at least 1, got -1",
        ),
        (
            json!({"max_completion_tokens": 0}),
            "max_completion_tokens",
            "at least 1, got 0",
        ),
        (json!({"n": 0}), "n", "at least 1"),
        (json!({"n": 129}), "n", "at most 128"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
            "at most 20, got 21",
        ),
        (
            json!({"top_logprobs": 2}),
            "top_logprobs",
            "only allowed when `logprobs` is true",
        ),
        (json!({"logit_bias": {"x": 1}}), "logit_bias.x", "token ids"),
        (
            json!({"logit_bias": {"1": 101}}),
            "logit_bias",
            "between -100 and 100",
        ),
        (json!({"stop": ""}), "stop", "empty string"),
        (json!({"stop": vec!["x"; 65]}), "stop", "at most 64"),
        (
            json!({"stop_token_ids": [-1]}),
            "stop_token_ids[0]",
            "token ids, got -1",
        ),
        (
            json!({"stream_options": {}}),
            "stream_options",
            "only allowed when `stream`",
        ),
        (json!({"mirostat": 1}), "mirostat", "0 (off) or 2"),
        (json!({"min_tokens": -1}), "min_tokens", "at least 0"),
        (json!({"priority": 1_i64 << 40}), "priority", "at most"),
        (json!({"store": true}), "store", "keeps no completions"),
        (json!({"service_tier": "gold"}), "service_tier", "gold"),
        (
            json!({"metadata": {"k": "v".repeat(513)}}),
            "metadata",
            "512",
        ),
        (
            json!({"continue_final_message": true, "add_generation_prompt": true}),
            "continue_final_message",
            "cannot both",
        ),
    ];
    for (fields, param, says) in cases {
        assert_refused(chat_with(fields), param, says);
    }
}

#[test]
fn each_wrong_type_is_refused_by_the_path_of_its_field() {
    let cases = [
        (
            json!({"temperature": "hot"}),
            "temperature",
            "string \"hot\"",
        ),
        (
            json!({"max_tokens": 1.5}),
            "max_tokens",
            "floating point `1.5`",
        ),
        (json!({"stream": "yes"}), "stream", "expected a boolean"),
        (json!({"stop": 5}), "stop", "a string or a list"),
        (json!({"stop": ["a", 5]}), "stop[1]", "integer `5`"),
        (json!({"messages": "hi"}), "messages", "expected a sequence"),
        (
            json!({"messages": [{"role": 1}]}),
            "messages[0].role",
            "integer `1`",
        ),
        (
            json!({"messages": [{"content": 1}]}),
            "messages[0].content",
            "a string or a list",
        ),
        (
            json!({"messages": [{"content": [{"type": "text", "text": 1}]}]}),
            "messages[0].content[0].text",
            "expected a string",
        ),
        (
            json!({"logit_bias": {"5": "x"}}),
            "logit_bias.5",
            "expected f64",
        ),
        (
            json!({"stream_options": {"include_usage": 1}}),
            "stream_options.include_usage",
            "boolean",
        ),
        (
            json!({"stop_token_ids": ["x"]}),
            "stop_token_ids[0]",
            "expected i64",
        ),
    ];
    for (fields, param, says) in cases {
        assert_refused(chat_with(fields), param, says);
    }
}

#[test]
fn each_field_that_is_not_supported_is_refused_and_never_skipped() {
    let cases = [
        ("modalities", json!(["text", "audio"]), "by this server"),
        ("functions", json!([{"name": "f"}]), "by this server"),
        ("best_of", json!(2), "is not a field of this endpoint."),
        ("max_output_tokens", json!(2), "use `max_tokens`"),
        ("think", json!(false), "use `reasoning_effort`"),
    ];
    for (field, value, says) in cases {
        assert_refused(chat_with(json!({field: value})), field, says);
    }
    let message = json!({"role": "user", "content": "x", "images": ["x"]});
    assert_refused(
        chat_with(json!({"messages": [message]})),
        "messages[0].images",
        "is not supported",
    );
    let tool = json!({"type": "function", "function": {"name": "f", "input_schema": {"x": 1}}});
    assert_refused(
        chat_with(json!({"tools": [tool]})),
        "tools[0].function.input_schema",
        "is not a field",
    );
}

#[test]
fn fields_of_others_that_ask_for_nothing_pass() {
    chat_with(json!({
        "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "best_of": 1,
        "modalities": ["text"], "use_beam_search": false, "suffix": "", "length_penalty": 1,
        "keep_alive": "5m", "echo": false, "raw": null,
        "messages": [{"role": "user", "content": "x", "type": "message", "images": []}],
    }))
    .unwrap();
}

#[test]
fn messages_are_what_templates_read() {
    let call = chat_with(json!({"messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Ann"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}
        ]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": null, "refusal": "no"},
    ]}))
    .unwrap();
    let expected = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Ann"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}
        ]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "no"},
    ]);
    assert_eq!(json!(call.request.messages), expected);
}

#[test]
fn each_message_that_cannot_be_used_is_refused_by_its_place() {
    let cases = [
        (json!([]), "messages", "at least one message"),
        (json!(null), "messages", "at least one message"),
        (json!([{"content": "x"}]), "messages[0].role", "got \"\""),
        (
            json!([{"role": "wizard", "content": "x"}]),
            "messages[0].role",
            "wizard",
        ),
        (json!([{"role": "user"}]), "messages[0].content", "missing"),
        (
            json!([{"role": "assistant", "content": null}]),
            "messages[0].content",
            "missing",
        ),
        (
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
            "messages[0].content[0].type",
            "image_url",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text",
            "missing",
        ),
    ];
    for (messages, param, says) in cases {
        assert_refused(chat_with(json!({"messages": messages})), param, says);
    }
}

#[test]
fn a_prompt_comes_in_four_shapes() {
    let text = |text: &str| PromptInput::Text {
        text: text.to_owned(),
        add_special_tokens: true,
    };
    let cases = [
        (json!("a"), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 2]), vec![PromptInput::Tokens(vec![1, 2])]),
        (
            json!([[1], [2, 3]]),
            vec![
                PromptInput::Tokens(vec![1]),
                PromptInput::Tokens(vec![2, 3]),
            ],
        ),
    ];
    for (prompt, expected) in cases {
        assert_eq!(
            completion_with(json!({"prompt": prompt})).unwrap().prompts,
            expected
        );
    }
}

#[test]
fn each_prompt_that_cannot_be_used_is_refused() {
    let cases = [
        (json!({}), "prompt", "missing"),
        (json!({"prompt": []}), "prompt", "empty list"),
        (json!({"prompt": ["a", 1]}), "prompt", "only strings"),
        (json!({"prompt": [1, [2]]}), "prompt", "only strings"),
        (json!({"prompt": [1, -2]}), "prompt[1]", "got -2"),
        (
            json!({"prompt": [[1, 4_294_967_296_i64]]}),
            "prompt[0][1]",
            "4294967296",
        ),
        (
            json!({"prompt": [true]}),
            "prompt[0]",
            "a string, a token id or a list of token ids",
        ),
        (
            json!({"prompt": {"a": 1}}),
            "prompt",
            "expected a string or a list",
        ),
        (
            json!({"prompt": "a", "max_tokens": 0}),
            "max_tokens",
            "unless `echo` is true",
        ),
        (
            json!({"prompt": "a", "logprobs": 21}),
            "logprobs",
            "at most 20",
        ),
        (
            json!({"prompt": "a", "n": 4, "best_of": 3}),
            "best_of",
            "must not be less than `n`",
        ),
    ];
    for (fields, param, says) in cases {
        assert_refused(completion_with(fields), param, says);
    }
}

#[test]
fn a_completion_has_sixteen_tokens_unless_it_says() {
    let call = completion_with(json!({"prompt": "a"})).unwrap();
    assert_eq!(call.options.sampling.max_tokens, Some(16));
    assert_eq!(call.options.sampling.prompt_logprobs, None);
    let call =
        completion_with(json!({"prompt": "a", "echo": true, "logprobs": 2, "max_tokens": 0}));
    let sampling = call.unwrap().options.sampling;
    assert_eq!(
        (sampling.max_tokens, sampling.prompt_logprobs),
        (Some(0), Some(2))
    );
}
