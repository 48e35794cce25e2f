//! OpenAI's Responses API.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::snapshot::assert_recorded;
use crate::spelling::{HERMES, PLAIN, THINKING, saying};
use crate::support::{CREATED, Reply, TestServer, city, server, with};

const RESPONSES: &str = "/v1/responses";
fn count_from_ten(fields: Value) -> Value {
    with(json!({"input": " t10", "max_output_tokens": 3}), fields)
}

fn weather(fields: Value) -> Value {
    let tool = json!({"type": "function", "name": "weather", "parameters": city()});
    with(
        json!({"input": "?", "max_output_tokens": 300, "tools": [tool]}),
        fields,
    )
}

fn text_of(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{response}"))
}

#[tokio::test]
async fn a_whole_response_has_openais_shape() {
    let request = count_from_ten(json!({"metadata": {"a": "b"}, "instructions": " t3"}));
    let mut response = server().post(RESPONSES, &request).await.json();
    let id = response["id"]
        .as_str()
        .unwrap()
        .trim_start_matches("resp_")
        .to_owned();
    assert_eq!(id.len(), 32);
    response["id"] = "resp_x".into();
    let expected = json!({
        "id": "resp_x",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete",
        "background": false,
        "error": null,
        "incomplete_details": {"reason": "max_output_tokens"},
        "instructions": " t3",
        "max_output_tokens": 3,
        "model": "counter",
        "output": [{
            "type": "message",
            "id": format!("msg_{id}_0"),
            "status": "incomplete",
            "role": "assistant",
            "content": [{"type": "output_text", "text": " t11 t12 t13", "annotations": [], "logprobs": []}],
        }],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null},
        "service_tier": "default",
        "store": true,
        "temperature": 0.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
        "user": null,
        "metadata": {"a": "b"},
    });
    assert_eq!(response, expected);
}

async fn count_tokens(server: &TestServer, text: &str) -> Value {
    let request = json!({"prompt": text, "add_special_tokens": false});
    server.post("/tokenize", &request).await.json()["count"].clone()
}

#[tokio::test]
async fn a_response_follows_another() {
    let server = saying("b", HERMES);
    let first = json!({"input": "a", "instructions": "never handed on"});
    let first = server.post(RESPONSES, &first).await.json();
    assert_eq!(
        (&first["status"], text_of(&first)),
        (&json!("completed"), "b")
    );
    let second = json!({"input": "c", "instructions": "s", "previous_response_id": first["id"]});
    let second = server.post(RESPONSES, &second).await.json();
    let expected = "<system>s<user>a<assistant>b<user>c<assistant>";
    assert_eq!(
        second["usage"]["input_tokens"],
        count_tokens(&server, expected).await
    );
    assert_eq!(second["previous_response_id"], first["id"]);
    let third = json!({"input": "d", "previous_response_id": second["id"], "store": false});
    let third = server.post(RESPONSES, &third).await.json();
    let expected = "<user>a<assistant>b<user>c<assistant>b<user>d<assistant>";
    assert_eq!(
        third["usage"]["input_tokens"],
        count_tokens(&server, expected).await
    );
    let path = format!("{RESPONSES}/{}", third["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.status, 404, "it was not to be kept");
}

#[tokio::test]
async fn a_kept_response_is_fetched_and_deleted() {
    let server = server();
    let response = server
        .post(RESPONSES, &count_from_ten(json!({})))
        .await
        .json();
    let path = format!("{RESPONSES}/{}", response["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(), response);
    let delete = || Request::delete(&path).body(Body::empty()).unwrap();
    let deleted = server.send(delete()).await.json();
    assert_eq!(
        deleted,
        json!({"id": response["id"], "object": "response", "deleted": true})
    );
    assert_eq!(server.send(delete()).await.error().0, 404);
    assert_eq!(server.get(&path).await.error().0, 404);
    let after = count_from_ten(json!({"previous_response_id": response["id"]}));
    let (status, param, code, _) = server.post(RESPONSES, &after).await.error();
    assert_eq!(
        (status, param.as_deref()),
        (400, Some("previous_response_id"))
    );
    assert_eq!(code.as_deref(), Some("previous_response_not_found"));
}

#[tokio::test]
async fn a_streamed_response_is_kept_too() {
    let server = saying("b", HERMES);
    let reply = server
        .post(RESPONSES, &json!({"input": "a", "stream": true}))
        .await;
    let last: Value =
        serde_json::from_str(reply.text.trim().rsplit_once("data: ").unwrap().1).unwrap();
    assert_eq!(last["type"], "response.completed");
    let path = format!("{RESPONSES}/{}", last["response"]["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(), last["response"]);
}

#[tokio::test]
async fn a_history_of_items_is_what_the_template_reads() {
    let input = json!([
        {"role": "developer", "content": "s"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "y", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "x", "output": "c"},
        {"type": "function_call_output", "call_id": "y", "output": [{"type": "input_text", "text": "d"}]},
    ]);
    let server = saying("e", HERMES);
    let response = server
        .post(RESPONSES, &json!({"input": input}))
        .await
        .json();
    let expected = "<system>s<user>a<assistant>b<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\
                    <tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call><tool>c<tool>d<assistant>";
    assert_eq!(
        response["usage"]["input_tokens"],
        count_tokens(&server, expected).await
    );
}

/// The stream without what repeats the whole response.
fn recorded(name: &str, reply: &Reply) {
    assert_recorded(name, reply);
}

#[tokio::test]
async fn a_stream_is_recorded() {
    let request = count_from_ten(json!({"stream": true}));
    recorded("responses-text", &server().post(RESPONSES, &request).await);
}

#[tokio::test]
async fn a_stream_with_calls_is_recorded() {
    let said =
        "So. <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}</tool_call>";
    let request = weather(json!({"stream": true}));
    recorded(
        "responses-calls",
        &saying(said, HERMES).post(RESPONSES, &request).await,
    );
}

#[tokio::test]
async fn a_stream_with_thoughts_is_recorded() {
    let request = json!({"input": "?", "stream": true});
    let server = saying("Hm.</think>Yes.", THINKING);
    recorded(
        "responses-thoughts",
        &server.post(RESPONSES, &request).await,
    );
}

#[tokio::test]
async fn thoughts_are_sealed_and_summed_up_if_asked_for() {
    let server = saying("Hm.</think>Yes.", THINKING);
    let include = json!(["reasoning.encrypted_content"]);
    let request = json!({"input": "?", "include": include, "reasoning": {"summary": "auto"}});
    let response = server.post(RESPONSES, &request).await.json();
    let thought = &response["output"][0];
    assert_eq!(thought["content"][0]["text"], "Hm.");
    assert_eq!(
        thought["summary"],
        json!([{"type": "summary_text", "text": "Hm."}])
    );
    assert_eq!(
        response["usage"]["output_tokens_details"]["reasoning_tokens"],
        3
    );
    let sealed = thought["encrypted_content"].as_str().unwrap();
    let input = json!([{"role": "user", "content": "?"},
        {"type": "reasoning", "summary": [], "encrypted_content": sealed}]);
    assert_eq!(
        server
            .post(RESPONSES, &json!({"input": input}))
            .await
            .status,
        200
    );
    // What another server has sealed is nothing to this one.
    let input = json!([{"role": "user", "content": "?"},
        {"type": "reasoning", "encrypted_content": "not base64!"}]);
    let reply = server.post(RESPONSES, &json!({"input": input})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn text_follows_its_format() {
    let schema = json!({"type": "object", "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "n", "schema": schema, "strict": true});
    let request = json!({"input": "?", "text": {"format": format}, "max_output_tokens": 100});
    let response = saying("no", PLAIN).post(RESPONSES, &request).await.json();
    let value: Value = serde_json::from_str(text_of(&response)).unwrap();
    assert!([1, 2].contains(&value["n"].as_i64().unwrap()));
    assert_eq!(response["text"]["format"], format);
}

#[tokio::test]
async fn each_tool_choice_is_obeyed() {
    let said = |choice: Value| async move {
        let request = weather(json!({"tool_choice": choice}));
        saying("I would rather not.", PLAIN)
            .post(RESPONSES, &request)
            .await
            .json()
    };
    let allowed = json!([{"type": "function", "name": "weather"}]);
    for choice in [
        json!("required"),
        json!({"type": "function", "name": "weather"}),
        json!({"type": "allowed_tools", "mode": "required", "tools": allowed}),
    ] {
        let response = said(choice).await;
        let call = &response["output"][0];
        assert_eq!(
            (&call["type"], &call["name"]),
            (&json!("function_call"), &json!("weather"))
        );
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert!(["Ulm", "Kiel"].contains(&arguments["city"].as_str().unwrap()));
    }
    for choice in [json!("auto"), json!("none")] {
        assert_eq!(text_of(&said(choice).await), "I would rather not.");
    }
}

#[tokio::test]
async fn logprobs_are_included_if_asked_for() {
    let include = json!(["message.output_text.logprobs"]);
    let request = count_from_ten(json!({"include": include, "top_logprobs": 2}));
    let response = server().post(RESPONSES, &request).await.json();
    let logprobs = response["output"][0]["content"][0]["logprobs"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(logprobs.len(), 3);
    assert_eq!(logprobs[0]["token"], " t11");
    assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let server = server();
    let cases = [
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 7}), "input"),
        (
            json!({"input": [{"role": "tool", "content": "x"}]}),
            "input[0].role",
        ),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"input": [{"type": "item_reference", "id": "x"}]}),
            "input[0].type",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0].type",
        ),
        (
            json!({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}),
            "input[0].call_id",
        ),
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "x"}}), "prompt"),
        (json!({"tool_choice": {"type": "mcp"}}), "tool_choice"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (
            json!({"text": {"format": {"type": "xml"}}}),
            "text.format.type",
        ),
        (
            json!({"text": {"format": {"type": "json_schema"}}}),
            "text.format.schema",
        ),
        (json!({"truncation": "some"}), "truncation"),
        (json!({"include": ["everything"]}), "include[0]"),
        (
            json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}),
            "tool_choice",
        ),
        (
            json!({"tools": [{"type": "web_search"}], "tool_choice": "required"}),
            "tool_choice",
        ),
        (json!({"text": {"verbosity": "mute"}}), "text.verbosity"),
        (json!({"reasoning": {"effort": "some"}}), "reasoning.effort"),
        (
            json!({"reasoning": {"summary": "long"}}),
            "reasoning.summary",
        ),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"input": " t10".repeat(5000)}), "input"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"n": 2}), "n"),
        (
            json!({"previous_response_id": "resp_none"}),
            "previous_response_id",
        ),
        (
            json!({"stream_options": {"include_usage": true}}),
            "stream_options",
        ),
    ];
    for (fields, expected) in cases {
        let reply = server
            .post(RESPONSES, &count_from_ten(fields.clone()))
            .await;
        let (status, param, _, message) = reply.error();
        assert_eq!(
            (status, param.as_deref()),
            (400, Some(expected)),
            "{fields}: {message}"
        );
    }
}

#[tokio::test]
async fn what_fails_late_is_an_event() {
    let request = json!({"input": " t97", "stream": true});
    let reply = server().post(RESPONSES, &request).await;
    assert!(
        reply.text.contains("event: response.failed\n"),
        "{}",
        reply.text
    );
    let whole = server().post(RESPONSES, &json!({"input": " t97"})).await;
    assert_eq!(whole.error().0, 500);
}
