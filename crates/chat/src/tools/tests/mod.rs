use serde_json::{Value, json};

use super::*;

mod pieces;

const ALL: [ToolFormat; 10] = [
    ToolFormat::Hermes,
    ToolFormat::SmolLm,
    ToolFormat::Llama3Json,
    ToolFormat::Llama3Pythonic,
    ToolFormat::Mistral,
    ToolFormat::MistralArgs,
    ToolFormat::Functionary,
    ToolFormat::FunctionaryV32,
    ToolFormat::Granite,
    ToolFormat::GenericJson,
];

fn tools() -> Vec<Tool> {
    ["get_weather", "now", "a.b-c"]
        .map(|name| Tool {
            name: name.to_owned(),
            parameters: json!({"type": "object"}),
        })
        .to_vec()
}

/// What an answer turned out to be: its text, and of each call id, name and arguments.
#[derive(Debug, Default, PartialEq)]
struct Parsed {
    text: String,
    calls: Vec<(Option<String>, String, String)>,
    ended: usize,
}

fn parse<'a>(format: ToolFormat, pieces: impl IntoIterator<Item = &'a str>) -> Parsed {
    let mut parser = ToolParser::new(format, &tools());
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(parser.push(piece));
    }
    events.extend(parser.finish());
    let mut parsed = Parsed::default();
    for event in events {
        match event {
            ToolEvent::Text(text) => parsed.text += &text,
            ToolEvent::CallStart { index, id, name } => {
                assert_eq!(index, parsed.calls.len());
                assert_eq!(
                    parsed.ended, index,
                    "a call begins after the last has ended"
                );
                parsed.calls.push((id, name, String::new()));
            }
            ToolEvent::ArgumentsDelta { index, fragment } => {
                assert_eq!(index + 1, parsed.calls.len());
                assert_eq!(parsed.ended, index);
                parsed.calls[index].2 += &fragment;
            }
            ToolEvent::CallEnd { index } => {
                assert_eq!(index, parsed.ended);
                parsed.ended += 1;
            }
        }
    }
    assert_eq!(parsed.ended, parsed.calls.len(), "every call ends");
    parsed
}

/// Checks the calls as `(name, arguments)`, and the text around them.
fn expect(format: ToolFormat, answer: &str, calls: &[(&str, Value)], text: &str) {
    let parsed = parse(format, [answer]);
    let found: Vec<(&str, Value)> = parsed
        .calls
        .iter()
        .map(|(_, name, arguments)| {
            let arguments = serde_json::from_str(arguments).expect("arguments are JSON");
            (name.as_str(), arguments)
        })
        .collect();
    assert_eq!(found, calls, "{answer}");
    assert_eq!(parsed.text, text, "{answer}");
}

#[test]
fn hermes_calls_are_found_between_their_tags() {
    let paris = json!({"city": "Paris", "days": [1, 2]});
    let format = ToolFormat::Hermes;
    expect(
        format,
        "I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"days\": [1, 2]}}\n</tool_call>\n<tool_call>{\"arguments\": {}, \"name\": \"now\"}</tool_call>\n",
        &[("get_weather", paris), ("now", json!({}))],
        "I look.\n",
    );
    expect(
        format,
        r#"<tool_call>{"name": "now", "arguments": "{\"a\": \"b\"}"}</tool_call> ok"#,
        &[("now", json!({"a": "b"}))],
        " ok",
    );
    expect(
        format,
        r#"<tool_call>{"name": "now"}"#,
        &[("now", json!({}))],
        "",
    );
    expect(format, "a <tool_ b", &[], "a <tool_ b");
}

#[test]
fn further_members_of_a_call_are_passed_over() {
    let call = ("get_weather", json!({"city": "Paris"}));
    let (name, arguments) = (
        r#""name": "get_weather""#,
        r#""arguments": {"city": "Paris"}"#,
    );
    let further = [
        r#""id": 1"#,
        r#""reason": "the user asks } for \"it\"", "sure": true"#,
        r#""a key that is \"longer\" than any other": [{"name": "now"}, null]"#,
        r#""parameters": {}"#,
    ];
    for other in further {
        let between = format!("{{{name}, {arguments}, {other}}}");
        let mut objects = vec![between];
        if !other.contains("parameters") {
            objects.push(format!("{{{other}, {name}, {arguments}}}"));
            objects.push(format!("{{{name}, {other}, {arguments}}}"));
            objects.push(format!("{{{arguments}, {other}, {name}}}"));
        }
        for object in objects {
            let answer = format!("<tool_call>{object}</tool_call>");
            expect(ToolFormat::Hermes, &answer, std::slice::from_ref(&call), "");
        }
        let object = format!("{{{name}, {arguments}, {other}}}");
        expect(
            ToolFormat::GenericJson,
            &object,
            std::slice::from_ref(&call),
            "",
        );
    }
    // Whatever has no arguments and something else is no call.
    for text in [
        r#"<tool_call>{"name": "now", "city": "Paris"}</tool_call>"#,
        r#"<tool_call>{"reason": 1}</tool_call>"#,
    ] {
        expect(ToolFormat::Hermes, text, &[], text);
    }
    // An answer in JSON is shown as it comes, not when it turns out to be no call.
    let mut parser = ToolParser::new(ToolFormat::GenericJson, &tools());
    let shown = parser.push(r#"{"title": "#);
    assert_eq!(shown, [ToolEvent::Text(r#"{"title": "#.to_owned())]);
}

#[test]
fn one_block_may_hold_a_list() {
    for format in [ToolFormat::SmolLm, ToolFormat::Hermes] {
        expect(
            format,
            r#"<tool_call>[{"name": "now", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "a}]\""}}]</tool_call>"#,
            &[
                ("now", json!({})),
                ("get_weather", json!({"city": "a}]\""})),
            ],
            "",
        );
    }
}

#[test]
fn llama_writes_bare_json() {
    let format = ToolFormat::Llama3Json;
    let call = ("get_weather", json!({"city": "Paris"}));
    for answer in [
        r#"{"name": "get_weather", "parameters": {"city": "Paris"}}"#,
        "\n{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}\n",
        r#"<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}"#,
    ] {
        expect(format, answer, std::slice::from_ref(&call), "");
    }
    expect(
        format,
        r#"{"name": "now", "parameters": {}}; {"name": "now", "parameters": {"a": 1}}"#,
        &[("now", json!({})), ("now", json!({"a": 1}))],
        "",
    );
    for text in [
        r#"{"name": "unknown", "parameters": {}}"#,
        r#"{"city": "Paris"}"#,
        r#"Sure: {"name": "now", "parameters": {}}"#,
        "<|python_tag|>print(1)",
        "{}",
    ] {
        expect(format, text, &[], text);
    }
}

#[test]
fn llama_writes_python() {
    let format = ToolFormat::Llama3Pythonic;
    expect(
        format,
        r#"[get_weather(city='São "P"', days=[1, -2.5, None], deep={"a": (True, false)}), now()]"#,
        &[
            (
                "get_weather",
                json!({"city": "São \"P\"", "days": [1, -2.5, null], "deep": {"a": [true, false]}}),
            ),
            ("now", json!({})),
        ],
        "",
    );
    expect(
        format,
        r#"[{"name": "a.b-c", "arguments": {"x": 1}}]"#,
        &[("a.b-c", json!({"x": 1}))],
        "",
    );
    for text in [
        "[1] says so",
        "[unknown(a=1)]",
        "[now(1)]",
        "[now(a=b)]",
        "[now(a=1",
        "see [now()]",
    ] {
        expect(format, text, &[], text);
    }
}

#[test]
fn mistral_has_two_notations_behind_one_marker() {
    for format in [ToolFormat::Mistral, ToolFormat::MistralArgs] {
        expect(
            format,
            r#"[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "Paris"}, "id": "x"}]"#,
            &[
                ("now", json!({})),
                ("get_weather", json!({"city": "Paris"})),
            ],
            "",
        );
        expect(
            format,
            r#"ok[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get_weather{"city": "Paris"}"#,
            &[
                ("now", json!({})),
                ("get_weather", json!({"city": "Paris"})),
            ],
            "ok",
        );
    }
    let parsed = parse(
        ToolFormat::MistralArgs,
        ["[TOOL_CALLS]now[CALL_ID]k3J9[ARGS]{\"a\": 1}"],
    );
    let call = (
        Some("k3J9".to_owned()),
        "now".to_owned(),
        "{\"a\": 1}".to_owned(),
    );
    assert_eq!(parsed.calls, [call]);
    expect(
        ToolFormat::Mistral,
        "[TOOL_CALLS] are markers",
        &[],
        "[TOOL_CALLS] are markers",
    );
}

#[test]
fn functionary_names_the_function_in_the_tag() {
    let format = ToolFormat::Functionary;
    expect(
        format,
        "Well. <function=get_weather>{\"city\": \"Paris\"}</function>\n<function=now>{}</function>",
        &[
            ("get_weather", json!({"city": "Paris"})),
            ("now", json!({})),
        ],
        "Well. ",
    );
    expect(format, "<function=a b>{}", &[], "<function=a b>{}");
    expect(format, "f<function=", &[], "f<function=");
}

#[test]
fn functionary_v3_2_names_a_recipient_for_each_part() {
    let format = ToolFormat::FunctionaryV32;
    let paris = json!({"city": "Paris"});
    expect(format, "all\nHi >>> there", &[], "Hi >>> there");
    expect(
        format,
        "get_weather\n{\"city\": \"Paris\"}",
        &[("get_weather", paris.clone())],
        "",
    );
    expect(
        format,
        "all\nLet me see.>>>get_weather\n{\"city\": \"Paris\"}>>>now\n{}",
        &[("get_weather", paris), ("now", json!({}))],
        "Let me see.",
    );
    // Neither a tool nor everybody.
    expect(format, "Hello\n{\"a\": 1}", &[], "Hello\n{\"a\": 1}");
    expect(format, "python\nprint(1)", &[], "python\nprint(1)");
}

#[test]
fn granite_lists_its_calls_behind_a_marker() {
    let format = ToolFormat::Granite;
    let call = r#"{"name": "now", "arguments": {}}"#;
    for answer in [
        format!("<|tool_call|>[{call}]"),
        format!("<|tool_call|> [{call}]<|/tool_call|>"),
        format!("<|tool_call|>{call}"),
    ] {
        expect(format, &answer, &[("now", json!({}))], "");
    }
    let two = format!("Well.<|tool_call|>[{call}, {call}]");
    expect(
        format,
        &two,
        &[("now", json!({})), ("now", json!({}))],
        "Well.",
    );
}

#[test]
fn a_tool_without_parameters_is_called_with_nothing() {
    let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let any = json!({"type": "object"});
    let open = json!({"type": "object", "properties": {}, "additionalProperties": true});
    for (parameters, expected) in [
        (Value::Null, closed.clone()),
        (json!({}), closed.clone()),
        (
            json!({"type": "object", "properties": {}, "required": []}),
            closed,
        ),
        (any.clone(), any),
        (open.clone(), open),
        (
            json!({"properties": {"a": {}}}),
            json!({"properties": {"a": {}}, "type": "object"}),
        ),
    ] {
        let tool = Tool {
            name: "now".to_owned(),
            parameters: parameters.clone(),
        };
        let policy = CallPolicy {
            required: true,
            parallel: false,
        };
        let grammar = ToolFormat::Hermes.grammar(&[tool], policy, |_| None);
        assert_eq!(grammar.schemas[0].1, expected, "{parameters}");
    }
}

#[test]
fn generic_calls_are_an_object_or_a_list() {
    let format = ToolFormat::GenericJson;
    expect(
        format,
        r#"{"name": "now", "arguments": {}}"#,
        &[("now", json!({}))],
        "",
    );
    expect(
        format,
        r#"[{"name": "now", "arguments": {}}, {"name": "now", "arguments": null}]"#,
        &[("now", json!({})), ("now", json!({}))],
        "",
    );
    expect(format, "[1, 2]", &[], "[1, 2]");
}

#[test]
fn what_is_no_call_comes_back_whole() {
    let format = ToolFormat::Hermes;
    for text in [
        "<tool_call>",
        "<tool_call>not json</tool_call>",
        "<tool_call>{\"name\": 1}</tool_call>",
        "<tool_call>{\"nom\": \"now\"}</tool_call>",
        "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1",
    ] {
        expect(format, text, &[], text);
    }
    expect(
        format,
        "<tool_call> <tool_call>{\"name\": \"now\"}</tool_call>",
        &[("now", json!({}))],
        "<tool_call> ",
    );
}

#[test]
fn a_call_that_breaks_off_is_ended_and_not_closed() {
    let format = ToolFormat::Hermes;
    let cut = parse(
        format,
        ["<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"x"],
    );
    assert_eq!(cut.calls[0].2, "{\"a\": \"x");
    assert_eq!(cut.text, "");
    let wrong = parse(
        format,
        ["<tool_call>{\"name\": \"now\", \"arguments\": {\"a\" oops"],
    );
    assert_eq!(wrong.calls[0].2, "{\"a\" ");
    assert_eq!(wrong.text, "oops");
}

#[test]
fn arguments_leave_as_they_arrive() {
    let mut parser = ToolParser::new(ToolFormat::Hermes, &tools());
    assert_eq!(parser.push("Hi <tool"), [ToolEvent::Text("Hi ".to_owned())]);
    assert_eq!(parser.push("_call>{\"name\": \"now\", \"arguments\": "), []);
    let events = parser.push("{\"a\": \"b");
    let start = ToolEvent::CallStart {
        index: 0,
        id: None,
        name: "now".to_owned(),
    };
    let fragment = |fragment: &str| ToolEvent::ArgumentsDelta {
        index: 0,
        fragment: fragment.to_owned(),
    };
    assert_eq!(events, [start, fragment("{\"a\": \"b")]);
    assert_eq!(parser.push("c\nd"), [fragment("c\\nd")]);
    assert_eq!(
        parser.push("\"}}"),
        [fragment("\"}"), ToolEvent::CallEnd { index: 0 }]
    );
    assert_eq!(parser.finish(), []);
}

#[test]
fn templates_tell_their_format() {
    let folder = matou_testkit::fixtures_dir().join("templates");
    for (name, expected) in [
        ("HuggingFaceTB-SmolLM3-3B", None),
        (
            "Mistral-Small-3.2-24B-Instruct-2506",
            Some(ToolFormat::MistralArgs),
        ),
        (
            "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
            Some(ToolFormat::Hermes),
        ),
        (
            "meta-llama-Llama-3.1-8B-Instruct",
            Some(ToolFormat::Llama3Json),
        ),
        (
            "meta-llama-Llama-3.2-3B-Instruct",
            Some(ToolFormat::Llama3Json),
        ),
        (
            "mistralai-Ministral-3-14B-Reasoning-2512",
            Some(ToolFormat::MistralArgs),
        ),
        (
            "mistralai-Mistral-Nemo-Instruct-2407",
            Some(ToolFormat::Mistral),
        ),
    ] {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja")));
        let source = source.expect("the template is there");
        assert_eq!(ToolFormat::detect(&source, "llama"), expected, "{name}");
    }
    for (source, expected) in [
        ("{{ '>>>all\\n' }}{{ tools }}", ToolFormat::FunctionaryV32),
        ("use <|tool_call|> and a list", ToolFormat::Granite),
    ] {
        assert_eq!(ToolFormat::detect(source, "llama"), Some(expected));
    }
    assert_eq!(
        ToolFormat::detect("{{ tools }}", "Llama4ForConditionalGeneration"),
        Some(ToolFormat::Llama3Pythonic)
    );
}
