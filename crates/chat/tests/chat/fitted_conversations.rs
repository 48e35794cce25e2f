//! Conversations that a template would refuse, or lose some of.

use matou_chat::{
    ChatTemplate, TemplateCapabilities, TemplateError, TemplateRequest, TemplateTokens,
};
use serde_json::{Map, Value, json};

const NEMO: &str = "mistralai-Mistral-Nemo-Instruct-2407.jinja";
const MISTRAL_V0_1: &str = "mistralai-Mistral-7B-Instruct-v0.1.jinja";
const LLAMA: &str = "meta-llama-Llama-3.1-8B-Instruct.jinja";
const ALL: [&str; 10] = [
    NEMO,
    MISTRAL_V0_1,
    LLAMA,
    "meta-llama-Llama-3.2-3B-Instruct.jinja",
    "HuggingFaceTB-SmolLM3-3B.jinja",
    "Mistral-Small-3.2-24B-Instruct-2506.jinja",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja",
    "unsloth-mistral-Devstral-Small-2507.jinja",
];

fn published(file: &str) -> ChatTemplate {
    let path = matou_testkit::fixtures_dir().join("templates").join(file);
    new(&std::fs::read_to_string(path).unwrap())
}

fn new(source: &str) -> ChatTemplate {
    let tokens = TemplateTokens {
        bos_token: "<s>".to_owned(),
        eos_token: "</s>".to_owned(),
        control_tokens: Vec::new(),
    };
    ChatTemplate::new(source, tokens).unwrap()
}

fn says(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn render(template: &ChatTemplate, messages: &[Value]) -> Result<String, TemplateError> {
    let request = TemplateRequest {
        messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    };
    template.render(&request).map(|prompt| prompt.text())
}

#[test]
fn a_template_is_known_by_what_it_prints() {
    let of = |file: &str| published(file).capabilities();
    let nemo: TemplateCapabilities = of(NEMO);
    assert!(nemo.system && nemo.tools && nemo.tool_calls);
    assert!(!nemo.system_later && !nemo.repeated_roles && !nemo.developer);
    let first = of(MISTRAL_V0_1);
    assert!(!first.system && !first.system_later && !first.repeated_roles);
    assert!(!first.tools && !first.tool_calls);
    let llama = of(LLAMA);
    assert!(llama.system && llama.system_later && llama.tools && llama.tool_calls);
    assert!(llama.repeated_roles);
    // What prints nothing of a conversation is given it as it is.
    let nothing = new("nothing").capabilities();
    assert!(nothing.system && nothing.repeated_roles && !nothing.tools);
}

#[test]
fn no_word_of_a_conversation_is_lost_whatever_its_shape() {
    let conversations = [
        vec![says("system", "needle"), says("user", "straw")],
        vec![
            says("developer", "needle"),
            says("developer", "hay"),
            says("user", "straw"),
            says("user", "stack"),
        ],
        vec![says("user", "straw"), says("system", "needle")],
        vec![
            says("user", "straw"),
            says("assistant", "hay"),
            says("system", "needle"),
            says("user", "stack"),
        ],
        vec![
            says("user", "straw"),
            says("assistant", "hay"),
            says("assistant", "needle"),
            says("user", "stack"),
        ],
        vec![
            says("system", "needle"),
            says("user", "straw"),
            says("assistant", "hay"),
            says("system", "stack"),
        ],
    ];
    for file in ALL {
        let template = published(file);
        for messages in &conversations {
            let prompt = render(&template, messages)
                .unwrap_or_else(|error| panic!("{file} {messages:?}: {error}"));
            for message in messages {
                let word = message["content"].as_str().unwrap();
                assert_eq!(prompt.matches(word).count(), 1, "{file} {word}: {prompt}");
            }
        }
    }
}

#[test]
fn repeated_roles_are_one_turn_where_turns_have_to_alternate() {
    let messages = [
        says("developer", "a"),
        says("developer", "b"),
        says("user", "c"),
        says("user", "d"),
    ];
    assert_eq!(
        render(&published(NEMO), &messages).unwrap(),
        "<s>[INST]a\n\nb\n\nc\n\nd[/INST]"
    );
    assert_eq!(
        render(&published(MISTRAL_V0_1), &messages).unwrap(),
        "<s>[INST] a\n\nb\n\nc\n\nd [/INST]"
    );
}

#[test]
fn a_system_message_in_the_middle_stays_where_it_is_read_and_joins_the_first_elsewhere() {
    let messages = [
        says("system", "a"),
        says("user", "b"),
        says("assistant", "c"),
        says("system", "d"),
        says("user", "e"),
    ];
    let chatml = ChatTemplate::chatml(TemplateTokens::default()).unwrap();
    assert_eq!(
        render(&chatml, &messages).unwrap(),
        "<|im_start|>system\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n\
         <|im_start|>assistant\nc<|im_end|>\n<|im_start|>system\nd<|im_end|>\n\
         <|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n"
    );
    let nemo = render(&published(NEMO), &messages).unwrap();
    assert_eq!(nemo, "<s>[INST]b[/INST]c</s>[INST]a\n\nd\n\ne[/INST]");
}

#[test]
fn a_conversation_that_fits_is_rendered_as_transformers_would() {
    let messages = [says("system", "a"), says("user", "b"), says("user", "c")];
    let llama = published(LLAMA);
    let request = TemplateRequest {
        messages: &messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    };
    let unfitted = llama.render_unfitted(&request).unwrap().text();
    assert_eq!(llama.render(&request).unwrap().text(), unfitted);
    assert!(unfitted.contains("b<|eot_id|>"));
}

#[test]
fn an_assistant_may_speak_first() {
    let messages = [
        says("system", "needle one"),
        says("assistant", "needle two"),
        says("user", "needle three"),
    ];
    for file in ALL {
        let prompt =
            render(&published(file), &messages).unwrap_or_else(|error| panic!("{file}: {error}"));
        let place = |word: &str| {
            assert_eq!(prompt.matches(word).count(), 1, "{file} {word}: {prompt}");
            prompt.find(word).unwrap()
        };
        // Some of Mistral's put what the system says before the user's last words.
        place("needle one");
        assert!(
            place("needle two") < place("needle three"),
            "{file}: {prompt}"
        );
    }
    assert_eq!(
        render(&published(MISTRAL_V0_1), &messages).unwrap(),
        "<s>[INST] needle one\n\nHello. [/INST]needle two</s> [INST] needle three [/INST]"
    );
}

#[test]
fn where_fitting_does_not_help_the_words_are_the_templates_own() {
    let picky = "{% for m in messages %}{{ m.content }}{% if m.content == 'no' %}\
                 {{ raise_exception('Not ' ~ m.role ~ ' ' ~ loop.index) }}{% endif %}{% endfor %}";
    let error = render(&new(picky), &[says("system", "a"), says("user", "no")]);
    assert_eq!(error.unwrap_err().to_string(), "Not user 2");
}
