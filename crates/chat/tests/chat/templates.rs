//! Published chat templates against what transformers renders with them.

use std::path::PathBuf;

use matou_chat::{ChatTemplate, TemplateError, TemplateRequest, TemplateSource, TemplateTokens};
use serde_json::{Map, Value, json};

fn folder() -> PathBuf {
    matou_testkit::fixtures_dir().join("templates")
}

fn published(file: &str, tokens: TemplateTokens) -> ChatTemplate {
    let source = std::fs::read_to_string(folder().join(file)).unwrap();
    ChatTemplate::new(source, tokens).unwrap()
}

fn tokens(bos: &str, eos: &str, control: &[&str]) -> TemplateTokens {
    TemplateTokens {
        bos_token: bos.to_owned(),
        eos_token: eos.to_owned(),
        control_tokens: control.iter().map(|&token| token.to_owned()).collect(),
    }
}

fn request<'a>(messages: &'a [Value], kwargs: &'a Map<String, Value>) -> TemplateRequest<'a> {
    TemplateRequest {
        messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs,
    }
}

fn render(template: &ChatTemplate, messages: &Value) -> Result<String, TemplateError> {
    let kwargs = Map::new();
    let rendered = template.render(&request(messages.as_array().unwrap(), &kwargs));
    rendered.map(|prompt| prompt.text())
}

/// The day on which the golden texts were rendered.
fn clock() -> chrono::DateTime<chrono::Local> {
    use chrono::TimeZone as _;
    chrono::Local
        .with_ymd_and_hms(2026, 11, 21, 12, 0, 0)
        .unwrap()
}

#[test]
fn published_templates_render_as_in_transformers() {
    let golden = std::fs::read_to_string(folder().join("golden.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&golden).unwrap();
    assert!(cases.len() >= 66);
    for case in &cases {
        let name = format!("{} {}", case["template"], case["case"]);
        let kwargs = case["kwargs"].as_object().unwrap();
        let text = |key: &str| kwargs[key].as_str().unwrap();
        // Control tokens that occur in the messages: marking must not show in the text.
        let control = ["<|eot_id|>", "<s>", "</s>", "[INST]", "{\""];
        let tokens = tokens(text("bos_token"), text("eos_token"), &control);
        let path = folder().join(case["template"].as_str().unwrap());
        let source = std::fs::read_to_string(path).unwrap();
        let template = ChatTemplate::with_clock(source, tokens, clock).unwrap();
        let rendered = template.render_unfitted(&TemplateRequest {
            messages: case["messages"].as_array().unwrap(),
            tools: Some(&case["tools"]).filter(|tools| !tools.is_null()),
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            continue_final_message: case["continue_final_message"].as_bool().unwrap(),
            kwargs,
        });
        match (rendered, &case["expect"]) {
            (Ok(prompt), expect) if expect["text"].is_string() => {
                assert_eq!(prompt.text(), expect["text"].as_str().unwrap(), "{name}");
            }
            (Err(TemplateError::Raised(words)), expect) => {
                assert_eq!(words, expect["error"].as_str().unwrap(), "{name}");
            }
            (outcome, expect) => panic!("{name}: expected {expect}, got {outcome:?}"),
        }
    }
}

/// A template that prints the fields of messages, to see what it is given.
const PLAIN: &str = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}";

fn new(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, TemplateTokens::default()).unwrap()
}

#[test]
fn parts_of_text_become_a_string_where_the_template_wants_one() {
    let parts = json!([{"role": "user", "content": [
        {"type": "text", "text": "one"}, {"type": "input_text", "text": "two"},
    ]}]);
    assert_eq!(render(&new(PLAIN), &parts).unwrap(), "user=one\ntwo;");
}

#[test]
fn a_template_that_handles_parts_joins_them_itself() {
    let mistral = published(
        "Mistral-Small-3.2-24B-Instruct-2506.jinja",
        tokens("", "", &[]),
    );
    let parts = json!([{"role": "user", "content": [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
    ]}]);
    assert!(
        render(&mistral, &parts)
            .unwrap()
            .ends_with("[INST]onetwo[/INST]")
    );
}

#[test]
fn a_string_becomes_a_part_where_the_template_wants_parts() {
    let typed = new(
        "{% for m in messages %}{% for p in m.content %}<{{ p.text }}>{% endfor %}{% endfor %}",
    );
    let string = json!([{"role": "user", "content": "one"}]);
    assert_eq!(render(&typed, &string).unwrap(), "<one>");
}

#[test]
fn parts_that_are_not_text_are_refused_by_name() {
    let messages = json!([
        {"role": "user", "content": "look:"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
    ]);
    match render(&new(PLAIN), &messages) {
        Err(TemplateError::Request { message, param }) => {
            assert_eq!(param, "messages[1].content[0]");
            assert!(message.contains("image_url"), "{message}");
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn arguments_given_as_text_are_what_the_template_expects() {
    let conversation = |content: Value, arguments: Value| {
        json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": content, "tool_calls": [{
                "id": "abcdef123", "type": "function",
                "function": {"name": "get_weather", "arguments": arguments},
            }]},
        ])
    };
    let text = json!("{\"city\": \"Paris\"}");
    let object = json!({"city": "Paris"});
    // Llama's template prints an object as JSON, DeepSeek's appends text to text.
    for (file, expected) in [
        (
            "meta-llama-Llama-3.1-8B-Instruct.jinja",
            "\"parameters\": {\"city\": \"Paris\"}}",
        ),
        (
            "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
            "```json\n{\"city\":",
        ),
    ] {
        let template = published(file, TemplateTokens::default());
        for arguments in [&text, &object] {
            let messages = conversation(Value::Null, arguments.clone());
            let prompt = render(&template, &messages).unwrap();
            assert!(prompt.contains(expected), "{file}: {prompt}");
        }
    }
}

#[test]
fn a_call_without_arguments_has_none() {
    let template = new("{% for m in messages %}{% for c in m.tool_calls or [] %}\
        {{ c.function.arguments | tojson }}{% for k in c.function.arguments.items() %}x{% endfor %};\
        {% endfor %}{% endfor %}");
    let call = |function: Value| json!({"id": "1", "type": "function", "function": function});
    let messages = json!([{"role": "assistant", "content": null, "tool_calls": [
        call(json!({"name": "now"})),
        call(json!({"name": "now", "arguments": null})),
        call(json!({"name": "now", "arguments": ""})),
        call(json!({"name": "now", "arguments": "{}"})),
    ]}]);
    assert_eq!(render(&template, &messages).unwrap(), "{};{};{};{};");
}

#[test]
fn the_template_for_tools_is_used_when_there_are_tools() {
    let source = TemplateSource::from_json(&json!([
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "{{ tools | length }} tools"},
    ]));
    let template = ChatTemplate::new(source.unwrap(), TemplateTokens::default()).unwrap();
    let kwargs = Map::new();
    let tools = json!([{"type": "function"}]);
    let mut request = request(&[], &kwargs);
    assert_eq!(template.render(&request).unwrap().text(), "plain");
    request.tools = Some(&tools);
    assert_eq!(template.render(&request).unwrap().text(), "1 tools");
}

#[test]
fn templates_need_a_default_and_valid_syntax() {
    let named = [("a", "x"), ("b", "y")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let error = ChatTemplate::new(TemplateSource::named(named), TemplateTokens::default());
    assert!(error.unwrap_err().to_string().contains("\"default\""));
    let error = ChatTemplate::new("{% if %}", TemplateTokens::default()).unwrap_err();
    assert!(matches!(error, TemplateError::Invalid { .. }), "{error}");
}

#[test]
fn variables_of_a_request_reach_the_template() {
    let kwargs = json!({"enable_thinking": false});
    let template = new("{{ enable_thinking }} {{ bos_token }}");
    let prompt = template.render(&request(&[], kwargs.as_object().unwrap()));
    assert_eq!(prompt.unwrap().text(), "False ");
}

#[test]
fn a_message_is_continued_where_it_ends() {
    let kwargs = Map::new();
    let messages = [
        json!({"role": "user", "content": "Count."}),
        json!({"role": "assistant", "content": "One, two, "}),
    ];
    let continued = |source: &str, messages: &[Value]| {
        let rendered = new(source).render(&TemplateRequest {
            add_generation_prompt: false,
            continue_final_message: true,
            ..request(messages, &kwargs)
        });
        rendered.map(|prompt| prompt.text())
    };
    assert_eq!(
        continued(PLAIN, &messages).unwrap(),
        "user=Count.;assistant=One, two, "
    );
    let trimming = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
    assert_eq!(
        continued(trimming, &messages).unwrap(),
        "[Count.][One, two,"
    );

    let refused = |source: &str, messages: &[Value]| {
        matches!(
            continued(source, messages),
            Err(TemplateError::Request { .. })
        )
    };
    assert!(refused(PLAIN, &[]));
    assert!(refused(
        PLAIN,
        &[json!({"role": "assistant", "content": null})]
    ));
    assert!(refused("nothing shown", &messages));
}

#[test]
fn chatml_is_there_for_models_without_a_template() {
    let template = ChatTemplate::chatml(TemplateTokens::default()).unwrap();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    assert_eq!(
        render(&template, &messages).unwrap(),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn what_a_template_does_wrong_is_an_error_that_says_so() {
    let failed = |source: &str| render(&new(source), &json!([])).unwrap_err();
    let error = failed("{{ messages[0].content }}");
    assert!(matches!(&error, TemplateError::Failed { .. }), "{error}");
    let error = failed("{{ raise_exception('No messages, no prompt.') }}");
    assert_eq!(error.to_string(), "No messages, no prompt.");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let error = failed(endless);
    assert!(matches!(&error, TemplateError::Runaway { .. }), "{error}");
}
