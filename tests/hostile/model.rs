//! A tiny checkpoint of random weights with a token for each byte, so that it can be told every text and
//! held to every grammar.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// Tokens: one for each byte, and those that mark a conversation.
const MARKS: [&str; 4] = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"];
const HIDDEN: usize = 64;
const LAYERS: usize = 2;
/// Longest context.
pub(crate) const CONTEXT: usize = 8192;

/// A template that writes the messages one after the other.
pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\
    {{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Writes the checkpoint, with a chat template, into a folder.
pub(crate) fn write(folder: &Path, template: &str) {
    let vocab_size = 256 + MARKS.len();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab_size,
        "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_act": "silu",
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "bos_token_id": 256, "eos_token_id": 257, "tie_word_embeddings": true,
        "torch_dtype": "float32",
    });
    let about_tokens = json!({
        "bos_token": MARKS[0], "eos_token": MARKS[1], "chat_template": template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    for (name, value) in [
        ("config.json", config),
        ("tokenizer_config.json", about_tokens),
        ("tokenizer.json", tokenizer()),
    ] {
        fs::write(folder.join(name), value.to_string()).unwrap();
    }
    write_weights(&folder.join("model.safetensors"), vocab_size);
}

/// A tokenizer that makes a token of each byte.
fn tokenizer() -> Value {
    let vocab: HashMap<String, usize> = (0..=255_u8)
        .map(|byte| (spelled(byte).to_string(), usize::from(byte)))
        .collect();
    let mark = |(i, mark): (usize, &&str)| {
        json!({
            "id": 256 + i, "content": mark, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    };
    let marks: Vec<Value> = MARKS.iter().enumerate().map(mark).collect();
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": marks,
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// The character that stands for a byte in byte-level vocabularies, as GPT-2 has it.
fn spelled(byte: u8) -> char {
    let is_shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_shown(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|byte| !is_shown(*byte)).count();
    char::from_u32(256 + hidden_before as u32).unwrap()
}

fn write_weights(path: &Path, vocab_size: usize) {
    let mut shapes = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![vocab_size, HIDDEN],
        ),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![32, HIDDEN]),
            ("self_attn.v_proj", vec![32, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![2 * HIDDEN, HIDDEN]),
            ("mlp.up_proj", vec![2 * HIDDEN, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, 2 * HIDDEN]),
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut state = 1_u64;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product()).flat_map(|_| {
                // A linear congruential generator (Knuth): small weights, no two alike.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let unit = (state >> 40) as f32 / (1_u64 << 24) as f32;
                let value = if shape.len() == 1 {
                    1.0
                } else {
                    (unit - 0.5) * 0.2
                };
                value.to_le_bytes()
            });
            let values = values.collect();
            (name, shape, values)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}
