//! Tool calls and reasoning: told apart, streamed, demanded.

use serde_json::{Value, json};

use crate::spelling::{HERMES, PLAIN, THINKING, saying};
use crate::support::{Reply, city, with};

const CHAT: &str = "/v1/chat/completions";

/// A template of a model that marks calls with control tokens.
const MISTRAL: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}\
    {% if false %}[TOOL_CALLS]x[ARGS]{{ tools }}{% endif %}[assistant]";
const WEATHER: &str = r#"<tool_call>
{"name": "weather", "arguments": {"city": "Ulm"}}
</tool_call>"#;

fn tool(name: &str, fields: Value) -> Value {
    let function = with(json!({"name": name, "parameters": city()}), fields);
    json!({"type": "function", "function": function})
}

/// A request with the tools `weather` and `time`.
fn request(fields: Value) -> Value {
    let request = json!({
        "messages": [{"role": "user", "content": "?"}],
        "tools": [tool("weather", json!({})), tool("time", json!({}))],
        "max_tokens": 300,
    });
    with(request, fields)
}

/// Message and finish reason of a model that wants to say `reply`.
async fn said(reply: &str, template: &str, fields: Value) -> (Value, String) {
    let answer = saying(reply, template)
        .post(CHAT, &request(fields))
        .await
        .json();
    let choice = &answer["choices"][0];
    let reason = choice["finish_reason"].as_str();
    (
        choice["message"].clone(),
        reason.unwrap_or_else(|| panic!("{answer}")).to_owned(),
    )
}

/// Names and arguments of the calls in a message; arguments are JSON.
fn calls(message: &Value) -> Vec<(String, Value)> {
    let call = |call: &Value| {
        assert_eq!(call["type"], "function");
        assert!(!call["id"].as_str().unwrap().is_empty());
        let function = &call["function"];
        let arguments = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        (function["name"].as_str().unwrap().to_owned(), arguments)
    };
    let calls = message["tool_calls"].as_array();
    calls.map_or_else(Vec::new, |calls| calls.iter().map(call).collect())
}

#[tokio::test]
async fn an_assistant_message_with_tool_calls_carries_content_null() {
    let (message, reason) = said(WEATHER, HERMES, json!({})).await;
    assert_eq!(
        calls(&message),
        [("weather".to_owned(), json!({"city": "Ulm"}))]
    );
    assert_eq!(
        (&message["content"], reason.as_str()),
        (&Value::Null, "tool_calls")
    );
    let (message, _) = said(&format!("Let me see. {WEATHER}"), HERMES, json!({})).await;
    assert_eq!(calls(&message).len(), 1);
    assert!(
        message["content"]
            .as_str()
            .unwrap()
            .starts_with("Let me see.")
    );
}

/// Streams an answer: its calls, put together, and the chunks.
fn joined(reply: &Reply) -> (Vec<(String, String)>, Vec<Value>) {
    let chunks = reply.chunks();
    let mut calls: Vec<(String, String)> = Vec::new();
    for chunk in &chunks {
        for delta in chunk["choices"][0]["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let index = delta["index"].as_u64().unwrap() as usize;
            let fragment = delta["function"]["arguments"].as_str().unwrap();
            if index == calls.len() {
                assert!(delta["id"].is_string() && delta["type"] == "function");
                let name = delta["function"]["name"].as_str().unwrap();
                calls.push((name.to_owned(), fragment.to_owned()));
            } else {
                assert_eq!(index + 1, calls.len(), "calls come one after the other");
                assert!(delta.get("id").is_none() && delta.get("type").is_none());
                assert!(delta["function"].get("name").is_none());
                calls[index].1.push_str(fragment);
            }
        }
    }
    (calls, chunks)
}

#[tokio::test]
async fn tool_deltas_have_an_index_then_arguments_in_fragments() {
    let second = WEATHER.replace("weather", "time").replace("Ulm", "Kiel");
    let server = saying(&format!("{WEATHER}\n{second}"), HERMES);
    let reply = server.post(CHAT, &request(json!({"stream": true}))).await;
    let (calls, chunks) = joined(&reply);
    assert_eq!(
        calls,
        [
            ("weather".to_owned(), r#"{"city": "Ulm"}"#.to_owned()),
            ("time".to_owned(), r#"{"city": "Kiel"}"#.to_owned()),
        ]
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let fragments = chunks.iter().filter(|chunk| {
        let delta = &chunk["choices"][0]["delta"]["tool_calls"][0];
        delta["id"].is_null() && !delta.is_null()
    });
    assert!(fragments.count() > 4, "arguments are streamed as they come");
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn a_call_that_does_not_parse_stays_text() {
    let broken = r#"<tool_call>{"name": 5}</tool_call>"#;
    let (message, reason) = said(broken, HERMES, json!({})).await;
    assert_eq!(message["content"], broken);
    assert!(message.get("tool_calls").is_none());
    assert_eq!(reason, "stop");
}

#[tokio::test]
async fn tool_choice_required_forces_a_call_that_satisfies_its_schema() {
    for template in [HERMES, MISTRAL, PLAIN] {
        let fields = json!({"tool_choice": "required", "parallel_tool_calls": false});
        let (message, reason) = said("I would rather not.", template, fields).await;
        let calls = calls(&message);
        assert_eq!(
            (calls.len(), reason.as_str()),
            (1, "tool_calls"),
            "{message}"
        );
        assert!(["weather", "time"].contains(&calls[0].0.as_str()));
        assert!(["Ulm", "Kiel"].contains(&calls[0].1["city"].as_str().unwrap()));
        assert_eq!(message["content"], Value::Null);
    }
}

#[tokio::test]
async fn tool_choice_of_a_named_function_calls_that_one() {
    let fields = json!({"tool_choice": {"type": "function", "function": {"name": "time"}}});
    for template in [HERMES, MISTRAL, PLAIN] {
        let (message, _) = said(WEATHER, template, fields.clone()).await;
        let calls = calls(&message);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].0, "time");
    }
}

#[tokio::test]
async fn tool_choice_required_is_obeyed_with_every_published_template() {
    let folder = matou_testkit::fixtures_dir().join("templates");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jinja")
        {
            continue;
        }
        let template = std::fs::read_to_string(&path).unwrap();
        let fields = json!({"tool_choice": "required", "parallel_tool_calls": false});
        // Where the template opens a block of reasoning, the call comes after it.
        let (message, reason) = said("Well.</think>No.", &template, fields).await;
        let calls = calls(&message);
        let file = path.display();
        assert_eq!(
            (calls.len(), reason.as_str()),
            (1, "tool_calls"),
            "{file}: {message}"
        );
        assert!(
            ["Ulm", "Kiel"].contains(&calls[0].1["city"].as_str().unwrap()),
            "{file}"
        );
        tried += 1;
    }
    assert!(tried > 5);
}

#[tokio::test]
async fn tool_choice_allowed_tools_leaves_the_others_out() {
    let fields = json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}],
    }}, "parallel_tool_calls": false});
    let (message, _) = said(WEATHER, HERMES, fields).await;
    assert_eq!(calls(&message)[0].0, "time");
}

#[tokio::test]
async fn tool_choice_none_calls_nothing() {
    let (message, reason) = said("Fine.", HERMES, json!({"tool_choice": "none"})).await;
    assert_eq!(
        (&message["content"], reason.as_str()),
        (&json!("Fine."), "stop")
    );
    assert!(message.get("tool_calls").is_none());
}

#[tokio::test]
async fn strict_tools_are_constrained_though_the_choice_is_free() {
    let fields = json!({"tools": [tool("weather", json!({"strict": true}))]});
    let wrong = WEATHER.replace("Ulm", "Rome");
    let (message, _) = said(&wrong, HERMES, fields.clone()).await;
    let calls = calls(&message);
    assert!(["Ulm", "Kiel"].contains(&calls[0].1["city"].as_str().unwrap()));
    assert_eq!(said("Hello.", HERMES, fields).await.0["content"], "Hello.");
}

#[tokio::test]
async fn parallel_tool_calls_false_allows_one_call() {
    let reply = format!("{WEATHER}\n{WEATHER}");
    let (message, _) = said(&reply, HERMES, json!({})).await;
    assert_eq!(calls(&message).len(), 2);
    let (message, _) = said(&reply, HERMES, json!({"parallel_tool_calls": false})).await;
    assert_eq!(calls(&message).len(), 1);
}

#[tokio::test]
async fn a_template_without_tools_gets_them_in_words() {
    let call = r#"{"name": "weather", "arguments": {"city": "Ulm"}}"#;
    let (message, reason) = said(call, PLAIN, json!({})).await;
    assert_eq!(
        calls(&message),
        [("weather".to_owned(), json!({"city": "Ulm"}))]
    );
    assert_eq!(reason, "tool_calls");
    assert_eq!(
        said("Hello.", PLAIN, json!({})).await.0["content"],
        "Hello."
    );
}

#[tokio::test]
async fn the_history_may_have_calls_and_their_results() {
    let messages = json!([
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\": \"Ulm\"}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]);
    for template in [HERMES, PLAIN] {
        let server = saying("It rains.", template);
        let request = request(json!({"messages": messages}));
        let answer = server.post(CHAT, &request).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], "It rains.");
        let tokens = server.post("/tokenize", &request).await.json()["tokens"].clone();
        let prompt = server
            .post("/detokenize", &json!({"tokens": tokens}))
            .await
            .json();
        let prompt = prompt["prompt"].as_str().unwrap();
        for word in ["weather", "Ulm", "rain"] {
            assert!(prompt.contains(word), "{prompt}");
        }
    }
}

#[tokio::test]
async fn tools_and_response_format_give_a_call_or_an_answer_of_that_format() {
    let fields = json!({"response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"type": "object", "properties": {"n": {"enum": [7]}},
        "required": ["n"], "additionalProperties": false},
    }}});
    let (message, _) = said(r#"{"n": 7}"#, HERMES, fields.clone()).await;
    assert_eq!(message["content"], r#"{"n": 7}"#);
    let (message, _) = said(WEATHER, HERMES, fields).await;
    assert_eq!(calls(&message).len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_tools_is_named() {
    let server = saying("x", HERMES);
    for (fields, param) in [
        (
            json!({"tools": [{"type": "retrieval"}], "tool_choice": {"type": "retrieval"}}),
            "tool_choice",
        ),
        (
            json!({"tools": [{"type": "function"}]}),
            "tools[0].function.name",
        ),
        (json!({"tools": "f"}), "tools"),
        (
            json!({"tools": [], "tool_choice": "required"}),
            "tool_choice",
        ),
        (json!({"tool_choice": "sometimes"}), "tool_choice"),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}),
            "tool_choice",
        ),
        (json!({"guided_regex": "a"}), "guided_regex"),
        (json!({"reasoning_effort": "huge"}), "reasoning_effort"),
    ] {
        let (status, named, _, message) = server.post(CHAT, &request(fields)).await.error();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{message}");
    }
}

#[tokio::test]
async fn reasoning_is_split_from_the_answer() {
    let none = json!({"tools": null});
    let (message, _) = said("I think.\n</think>\n\nYes.", THINKING, none.clone()).await;
    assert_eq!(message["reasoning_content"], "I think.");
    assert_eq!(message["content"], "Yes.");
    let server = saying("I think.</think>Yes.", THINKING);
    let chunks = server
        .post(CHAT, &request(json!({"tools": null, "stream": true})))
        .await
        .chunks();
    let text = |field: &str| -> String {
        let deltas = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"][field]);
        deltas.filter_map(Value::as_str).collect()
    };
    assert_eq!(
        (text("reasoning_content").as_str(), text("content").as_str()),
        ("I think.", "Yes.")
    );
    let (message, _) = said("I think.</think>Yes.", PLAIN, none).await;
    assert!(message.get("reasoning_content").is_none());
    assert_eq!(message["content"], "I think.</think>Yes.");
}

#[tokio::test]
async fn a_grammar_holds_for_what_comes_after_reasoning() {
    let fields = json!({"tools": null, "guided_choice": ["yes", "maybe"]});
    let (message, _) = said("Hm, no.</think>no", THINKING, fields).await;
    assert_eq!(message["reasoning_content"], "Hm, no.");
    assert!(["yes", "maybe"].contains(&message["content"].as_str().unwrap()));
}

/// What is thought and said, whole and streamed the same.
async fn thought(reply: &str, template: &str, fields: Value) -> (String, String) {
    let mut fields = fields;
    fields["tools"] = Value::Null;
    fields["max_tokens"] = json!(100);
    let (message, _) = said(reply, template, fields).await;
    let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
    (text("reasoning_content"), text("content"))
}

#[tokio::test]
async fn no_more_is_thought_than_the_budget() {
    let pair = |thought: &str, said: &str| (thought.to_owned(), said.to_owned());
    // What the scripted model goes on with is its reply from the beginning.
    for name in [
        "thinking_token_budget",
        "thinking_budget",
        "thinking_budget_tokens",
    ] {
        let found = thought("abcdef", THINKING, json!({name: 3})).await;
        assert_eq!(found, pair("abc", "abcdef"));
    }
    for (reply, budget, expected) in [
        // Nothing at all, and not the half of a character.
        ("abc", 0, pair("", "abc")),
        ("aé!", 2, pair("aé", "aé!")),
        // Enough changes nothing, be it by one token.
        ("ab</think>c", 2 + 8, pair("ab", "c")),
    ] {
        let found = thought(reply, THINKING, json!({"thinking_token_budget": budget})).await;
        assert_eq!(found, expected, "{reply}");
    }
    // A block that the model opens itself counts from there.
    let opens_itself = format!("{PLAIN}{{% if false %}}</think>{{% endif %}}");
    let budget = json!({"thinking_token_budget": 2});
    let found = thought(" <think>abcd", &opens_itself, budget.clone()).await;
    assert_eq!(found.0, "ab");
    let found = thought("abc <think>d", &opens_itself, budget).await;
    assert_eq!(found, pair("", "abc <think>d"));
    // The end is forced, whatever else is excluded.
    for mut fields in [
        json!({"bad_words": ["think"], "allowed_token_ids": [100, 101]}),
        json!({"bad_words": ["think"], "guided_regex": ".*"}),
    ] {
        fields["thinking_token_budget"] = json!(3);
        let (thoughts, _) = thought("abcdef", THINKING, fields).await;
        assert_eq!(thoughts.len(), 3, "{thoughts}");
    }
    // A grammar holds for what comes after.
    let both = json!({"thinking_token_budget": 3, "guided_choice": ["yes", "maybe"]});
    let (thoughts, content) = thought("Hm, no, not really", THINKING, both).await;
    assert_eq!(thoughts, "Hm,");
    assert!(["yes", "maybe"].contains(&content.as_str()), "{content}");
}

#[tokio::test]
async fn reasoning_effort_reaches_the_template() {
    let fields = json!({"tools": null, "reasoning_effort": "none"});
    let (message, _) = said("Yes.", THINKING, fields).await;
    assert_eq!(message["content"], "Yes.");
    assert!(message.get("reasoning_content").is_none());
}

#[tokio::test]
async fn log_probabilities_of_calls_and_reasoning_are_streamed_whole() {
    let entries =
        |choice: &Value| -> usize { choice["logprobs"]["content"].as_array().map_or(0, Vec::len) };
    let reply = format!("I think.</think>{WEATHER}");
    for (template, fields) in [
        (THINKING, json!({"logprobs": true, "tools": null})),
        (HERMES, json!({"logprobs": true})),
    ] {
        let server = saying(&reply, template);
        let whole = server.post(CHAT, &request(fields.clone())).await.json();
        let mut fields = fields;
        fields["stream"] = json!(true);
        let chunks = server.post(CHAT, &request(fields)).await.chunks();
        let streamed: usize = chunks
            .iter()
            .map(|chunk| entries(&chunk["choices"][0]))
            .sum();
        assert_eq!(entries(&whole["choices"][0]), reply.len());
        assert_eq!(streamed, reply.len());
    }
}
