//! A model that says what it is told to, one byte a token, unless a grammar forbids it.

use std::sync::Arc;

use matou_chat::{ChatTemplate, GgufVocab, SpecialTokens, Tokenizer};
use matou_engine::{Engine, EngineConfig, SamplingParams};
use matou_llm::{Llm, ModelCard};

use crate::scripted::ScriptedModel;

/// The token that ends a text.
const END: u32 = 2;

/// A template that knows nothing but messages.
pub const PLAIN: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}\
                                {% if add_generation_prompt %}<assistant>{% endif %}";

/// One that shows its model tools, and calls as Hermes writes them.
pub const HERMES: &str = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}\
    {% for m in messages %}<{{ m.role }}>{{ m.content }}\
    {% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>\
    {% endfor %}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

/// One that opens a block of reasoning.
pub const THINKING: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}\
    {% if enable_thinking is defined and not enable_thinking %}[answer]\
    {% else %}<think>\n{% endif %}{% if false %}</think>{% endif %}";

/// Control tokens beside the end.
const CONTROL: [&str; 6] = [
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|fim_pad|>",
];

/// A model with this chat template that answers everything with `reply`.
///
/// # Panics
///
/// When the template cannot be parsed.
pub fn speller(reply: &str, template: &str) -> Llm {
    // Room for long templates, a byte a token.
    conversing(&[("", reply)], template, 16 << 10)
}

/// A model with this chat template and so long a context that gives the first of `replies` whose cue
/// its prompt holds.
///
/// # Panics
///
/// When the template cannot be parsed.
pub fn conversing(replies: &[(&str, &str)], template: &str, max_model_len: usize) -> Llm {
    let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
    let tokens: Vec<String> = ["<unk>", "<s>", "</s>"]
        .map(str::to_owned)
        .into_iter()
        .chain(bytes)
        .chain(CONTROL.map(str::to_owned))
        .collect();
    let types = [2, 3, 3]
        .into_iter()
        .chain([6; 256])
        .chain([3; CONTROL.len()]);
    let tokenizer = Tokenizer::from_gguf(GgufVocab {
        model: "llama".to_owned(),
        scores: vec![0.0; tokens.len()],
        token_types: types.collect(),
        tokens,
        bos_token_id: Some(1),
        eos_token_id: Some(END),
        add_space_prefix: Some(false),
        ..GgufVocab::default()
    })
    .expect("a scripted model starts");
    let mut model = ScriptedModel::new(tokenizer.vocab_size());
    for (cue, reply) in replies {
        let mut spelled = spell(reply);
        spelled.push(END);
        // As it is read, which is not how it is said: spaces are spelled out.
        let cue = tokenizer.encode(cue, SpecialTokens::Plain, false);
        let cue = cue.expect("a scripted model reads every text");
        model = model.with_reply_to(&cue, &spelled);
    }
    let config = EngineConfig {
        max_model_len,
        num_kv_blocks: max_model_len / 4,
        ..EngineConfig::default()
    };
    let (engine, _thread) =
        Engine::start(Box::new(model), config).expect("a scripted model starts");
    let template =
        ChatTemplate::new(template, tokenizer.template_tokens()).expect("a scripted model starts");
    let model = ModelCard {
        names: vec!["speller".to_owned()],
        created: 1_600_000_000,
        fingerprint: "fp_test".to_owned(),
        default_sampling: SamplingParams::greedy(),
        eos_token_ids: vec![END],
    };
    Llm::new(engine, Arc::new(tokenizer), Some(Arc::new(template)), model)
}

/// The tokens of a text: a control token where its name is, else a byte each.
fn spell(text: &str) -> Vec<u32> {
    const FIRST_BYTE: u32 = 3;
    const FIRST_CONTROL: u32 = FIRST_BYTE + 256;
    let mut tokens = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let control = CONTROL
            .iter()
            .position(|name| rest.starts_with(name.as_bytes()));
        match control {
            Some(control) => {
                tokens.push(FIRST_CONTROL + control as u32);
                rest = &rest[CONTROL[control].len()..];
            }
            None => {
                tokens.push(FIRST_BYTE + u32::from(*byte));
                rest = after;
            }
        }
    }
    tokens
}
