//! Folders in Hugging Face layout: configs, safetensors, shard indices.

use std::fs;
use std::path::Path;

use matou_model::WeightFiles;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{assert_mentions, load_on_cpu, message};
use crate::harness::checkpoint;

/// The tiny Llama 2 checkpoint in a folder of its own, to be spoilt.
struct Spoilt(TempDir);

impl Spoilt {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(checkpoint("llama2").join(file), folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("config.json")).unwrap()).unwrap()
    }

    fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path().join(file), contents).unwrap();
    }

    fn error(&self, case: &str) -> String {
        message(
            load_on_cpu(&WeightFiles::HuggingFace(self.path().to_owned())),
            case,
        )
    }
}

#[test]
fn bad_configs_are_errors_that_name_the_field() {
    let cases = [
        ("architectures", Value::Null, "`architectures` is missing"),
        (
            "architectures",
            json!(["BloomForCausalLM"]),
            "unsupported architecture BloomForCausalLM; supported: LlamaForCausalLM",
        ),
        ("hidden_size", Value::Null, "`hidden_size` is missing"),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("hidden_size", json!(-64), "invalid value: integer `-64`"),
        ("hidden_size", json!("64"), "invalid type: string"),
        (
            "hidden_size",
            json!(32),
            "tensor model.embed_tokens.weight has shape [128, 64], the configuration asks for [128, 32]",
        ),
        (
            "num_hidden_layers",
            json!(1u64 << 60),
            "`num_hidden_layers` is 1152921504606846976",
        ),
        (
            "num_hidden_layers",
            json!(3),
            "tensor model.layers.2.post_attention_layernorm.weight is missing",
        ),
        (
            "num_attention_heads",
            json!(0),
            "`num_attention_heads` is 0",
        ),
        (
            "num_key_value_heads",
            json!(3),
            "`num_key_value_heads` is 3",
        ),
        ("head_dim", json!(15), "`head_dim` is 15"),
        (
            "vocab_size",
            json!(1 << 23),
            "model.embed_tokens.weight has shape [128, 64]",
        ),
        (
            "max_position_embeddings",
            json!(u64::MAX),
            "`max_position_embeddings`",
        ),
        (
            "intermediate_size",
            json!(96),
            "tensor model.layers.0.mlp.gate_proj.weight has shape [128, 64]",
        ),
        (
            "attention_bias",
            json!(true),
            "tensor model.layers.0.self_attn.q_proj.bias is missing",
        ),
        ("hidden_act", json!("relu"), "hidden_act \"relu\""),
        ("rope_theta", json!(-1.0), "`rope_theta` is -1"),
        (
            "rope_scaling",
            json!({"type": "xpos", "factor": 2.0}),
            "`rope_scaling.rope_type` is \"xpos\"",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "llama3"}),
            "`rope_scaling.factor`",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 0}),
            "`rope_scaling.factor`",
        ),
        ("sliding_window", json!(0), "`sliding_window` is 0"),
        (
            "layer_types",
            json!(["full_attention"]),
            "`layer_types` has 1 entries for 2 layers",
        ),
        (
            "layer_types",
            json!(["linear_attention", "x"]),
            "`layer_types` has \"linear_attention\"",
        ),
    ];
    for (field, value, expected) in cases {
        let spoilt = Spoilt::new();
        let mut config = spoilt.config();
        config[field] = value;
        spoilt.write("config.json", config.to_string());
        assert_mentions(&spoilt.error(expected), expected);
    }
}

#[test]
fn an_unknown_architecture_is_named_before_the_fields_that_it_lacks() {
    let spoilt = Spoilt::new();
    spoilt.write(
        "config.json",
        json!({"architectures": ["GPT2LMHeadModel"], "n_embd": 64}).to_string(),
    );
    assert_mentions(
        &spoilt.error("GPT-2"),
        "unsupported architecture GPT2LMHeadModel",
    );
}

#[test]
fn folders_that_lack_files_are_errors_that_name_them() {
    let spoilt = Spoilt::new();
    fs::remove_file(spoilt.path().join("model.safetensors")).unwrap();
    assert_mentions(
        &spoilt.error("no weights"),
        "neither model.safetensors nor model.safetensors.index.json",
    );
    spoilt.write("config.json", "{ this is not JSON");
    assert_mentions(
        &spoilt.error("no JSON"),
        "config.json: key must be a string at line 1",
    );
    fs::remove_file(spoilt.path().join("config.json")).unwrap();
    assert_mentions(&spoilt.error("no config"), "config.json");
}

#[test]
fn corrupt_safetensors_are_errors() {
    let sound = fs::read(checkpoint("llama2").join("model.safetensors")).unwrap();
    let mut huge_header = sound.clone();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut garbled = sound.clone();
    garbled[9] = b'?';
    for (bytes, case) in [
        (sound[..4].to_vec(), "shorter than its length field"),
        (sound[..sound.len() - 1].to_vec(), "truncated"),
        (huge_header, "huge header"),
        (garbled, "garbled header"),
    ] {
        let spoilt = Spoilt::new();
        spoilt.write("model.safetensors", bytes);
        assert_mentions(&spoilt.error(case), "model.safetensors: ");
    }
}

#[test]
fn a_missing_tensor_and_one_of_the_wrong_type_are_named() {
    let sound = fs::read(checkpoint("llama2").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&sound).unwrap().tensors();
    let target = "model.layers.1.mlp.down_proj.weight";

    let spoilt = Spoilt::new();
    let others = tensors.iter().filter(|(name, _)| name != target).cloned();
    spoilt.write("model.safetensors", serialize(others, None).unwrap());
    assert_mentions(
        &spoilt.error("missing"),
        &format!("tensor {target} is missing"),
    );

    let integers = vec![0u8; 64 * 128];
    let retyped = tensors.iter().map(|(name, view)| match name == target {
        true => (
            name.clone(),
            TensorView::new(Dtype::I8, vec![64, 128], &integers).unwrap(),
        ),
        false => (name.clone(), view.clone()),
    });
    spoilt.write("model.safetensors", serialize(retyped, None).unwrap());
    assert_mentions(
        &spoilt.error("retyped"),
        &format!("tensor {target} has type I8"),
    );
}

#[test]
fn a_shard_index_must_keep_to_its_folder_and_to_the_truth() {
    let cases = [
        (
            json!({"weight_map": {"a": "../../model.safetensors"}}),
            "is not a plain file name",
        ),
        (
            json!({"weight_map": {"a": "/etc/passwd"}}),
            "is not a plain file name",
        ),
        (
            json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}),
            "1 of 2 shards are missing: two.safetensors",
        ),
        (
            json!({"weight_map": {"no.such.tensor": "one.safetensors"}}),
            "tensor no.such.tensor is said to be in one.safetensors",
        ),
        (json!({"weights": {}}), "missing field `weight_map`"),
    ];
    for (index, expected) in cases {
        let spoilt = Spoilt::new();
        fs::rename(
            spoilt.path().join("model.safetensors"),
            spoilt.path().join("one.safetensors"),
        )
        .unwrap();
        spoilt.write("model.safetensors.index.json", index.to_string());
        assert_mentions(&spoilt.error(expected), expected);
    }
}
