//! The same checkpoints in other layouts: Mistral's own, and quantised by other people's tools or as
//! they load.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use matou_model::{Checkpoint, DeviceChoice, KvCacheDtype, LoadOptions, Quantization, WeightFiles};
use matou_testkit::fixtures_dir;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{
    Harness, bits, checkpoint, gguf_fixture, goldens, options, relative_deviation,
};
use super::parity::check_runs;

/// The rows of each head, taken in turns from its halves.
fn interleaved(data: &[u8], heads: usize, row_bytes: usize) -> Vec<u8> {
    let rows: Vec<&[u8]> = data.chunks(row_bytes).collect();
    let half = rows.len() / heads / 2;
    let head = |head: &[&[u8]]| -> Vec<u8> {
        let pairs = (0..half).flat_map(|i| [head[i], head[half + i]]);
        pairs.flatten().copied().collect()
    };
    rows.chunks(2 * half).flat_map(head).collect()
}

/// The name of a tensor in Mistral's reference code.
fn mistral_name(name: &str) -> String {
    let renamed = [
        ("model.embed_tokens", "tok_embeddings"),
        ("model.norm", "norm"),
        ("lm_head", "output"),
        ("self_attn.q_proj", "attention.wq"),
        ("self_attn.k_proj", "attention.wk"),
        ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("block_sparse_moe", "feed_forward"),
        ("model.layers", "layers"),
    ];
    renamed
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// A checkpoint in Mistral's layout.
fn in_mistrals_layout(name: &str, more: Value) -> TempDir {
    let source = checkpoint(name);
    let read = |file: &str| fs::read(source.join(file)).unwrap();
    let config: Value = serde_json::from_slice(&read("config.json")).unwrap();
    let heads = |field: &str| config[field].as_u64().unwrap() as usize;
    let bytes = read("model.safetensors");
    let mut tensors = BTreeMap::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let row_bytes = tensor.shape().last().unwrap() * 4;
        let data = if name.contains("q_proj") {
            interleaved(tensor.data(), heads("num_attention_heads"), row_bytes)
        } else if name.contains("k_proj") {
            interleaved(tensor.data(), heads("num_key_value_heads"), row_bytes)
        } else {
            tensor.data().to_vec()
        };
        tensors.insert(mistral_name(&name), (tensor.shape().to_vec(), data));
    }
    let views = tensors.iter().map(|(name, (shape, data))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    let folder = TempDir::new().unwrap();
    let write = |file: &str, data: Vec<u8>| fs::write(folder.path().join(file), data).unwrap();
    write("consolidated.safetensors", serialize(views, None).unwrap());
    let head_dim = config["head_dim"]
        .as_u64()
        .unwrap_or_else(|| (heads("hidden_size") / heads("num_attention_heads")) as u64);
    let theta = config["rope_theta"].as_f64();
    let mut params = json!({
        "dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "head_dim": head_dim,
        "hidden_dim": config["intermediate_size"], "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"], "norm_eps": config["rms_norm_eps"],
        "vocab_size": config["vocab_size"],
        "rope_theta": theta.or_else(|| config["rope_parameters"]["rope_theta"].as_f64()),
        "tied_embeddings": config["tie_word_embeddings"],
    });
    if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
        params.extend(more);
    }
    write("params.json", params.to_string().into_bytes());
    folder
}

fn check_mistral(name: &str, more: Value) {
    let folder = in_mistrals_layout(name, more);
    let mut model = Harness::huggingface(folder.path(), &options(DeviceChoice::Cpu));
    check_runs(&mut model, &goldens(name), true);
}

#[test]
fn mistral_in_its_own_layout_agrees_with_the_reference() {
    check_mistral("mistral-v0.3", json!({}));
    check_mistral("mistral-v0.1", json!({"sliding_window": 16}));
}

#[test]
fn mixtral_in_mistrals_layout_agrees_with_the_reference() {
    check_mistral(
        "mixtral",
        json!({"moe": {"num_experts": 4, "num_experts_per_tok": 2}}),
    );
}

#[test]
fn ministral3_in_mistrals_layout_agrees_with_the_reference() {
    let path = checkpoint("ministral3").join("config.json");
    let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let rope = &config["rope_parameters"];
    let original = &rope["original_max_position_embeddings"];
    check_mistral(
        "ministral3",
        json!({
            "yarn": {"factor": rope["factor"], "original_max_position_embeddings": original,
                "beta": rope["beta_fast"], "alpha": rope["beta_slow"], "apply_scale": false},
            "llama_4_scaling": {"beta": rope["llama_4_scaling_beta"],
                "original_max_position_embeddings": original},
        }),
    );
}

#[test]
fn the_text_part_of_a_model_that_sees_agrees_with_the_reference() {
    let source = checkpoint("mistral-v0.3");
    let read = |file: &str| fs::read(source.join(file)).unwrap();
    let bytes = read("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut text: Value = serde_json::from_slice(&read("config.json")).unwrap();
    text["model_type"] = json!("mistral");
    let config =
        json!({"architectures": ["Mistral3ForConditionalGeneration"], "text_config": text});
    // As transformers 4 names them, and as 5 does.
    for prefix in ["language_model.model.", "model.language_model."] {
        let folder = TempDir::new().unwrap();
        let views = tensors.tensors().into_iter().map(|(name, view)| {
            let head = if prefix.starts_with("lang") {
                "language_model.lm_head"
            } else {
                "lm_head"
            };
            (
                name.replace("lm_head", head).replacen(
                    "model.",
                    prefix,
                    usize::from(name.starts_with("model.")),
                ),
                view,
            )
        });
        let mut views: Vec<_> = views.collect();
        let sight = vec![0; 64];
        let view = TensorView::new(Dtype::F32, vec![16], &sight).unwrap();
        views.push(("vision_tower.ln_pre.weight".to_owned(), view));
        let write = |file: &str, data: Vec<u8>| fs::write(folder.path().join(file), data).unwrap();
        write("model.safetensors", serialize(views, None).unwrap());
        write("config.json", config.to_string().into_bytes());
        let mut model = Harness::huggingface(folder.path(), &options(DeviceChoice::Cpu));
        check_runs(&mut model, &goldens("mistral-v0.3"), true);
        let weights = WeightFiles::HuggingFace(folder.path().to_owned());
        let summary = Checkpoint::open(&weights)
            .unwrap()
            .summary(&options(DeviceChoice::Cpu))
            .unwrap();
        assert_eq!(summary.parameters, model.model.info().parameters);
    }
}

/// The one-layer checkpoint that a folder of `prequantized` was made from.
fn one_layer() -> TempDir {
    let folder = TempDir::new().unwrap();
    let source = checkpoint("llama2");
    let mut config: Value =
        serde_json::from_slice(&fs::read(source.join("config.json")).unwrap()).unwrap();
    config["num_hidden_layers"] = json!(1);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::copy(
        source.join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    folder
}

/// Logits of a folder stay within `bound` of the checkpoint's, however they are run.
fn check_deviation(folder: &Path, options: &LoadOptions, reference: &Path, bound: f32) {
    let mut expected = Harness::huggingface(reference, &self::options(DeviceChoice::Cpu));
    let mut model = Harness::huggingface(folder, options);
    for golden in goldens("llama2") {
        let logits = model.whole(&golden.prompt);
        let error = relative_deviation(&logits, &expected.whole(&golden.prompt));
        assert!(error < bound, "{}: off by {error}", folder.display());
        assert_eq!(bits(&model.chunked(&golden.prompt, 3)), bits(&logits));
    }
}

#[test]
fn checkpoints_quantised_by_others_stay_close_to_what_they_were_made_from() {
    let reference = one_layer();
    for (name, bound) in [
        ("gptq", 0.4),
        ("gptq-act-order", 0.4),
        ("awq", 0.4),
        ("compressed-tensors", 0.4),
        ("fp8-blocks", 0.1),
        ("fp8-tensor", 0.1),
    ] {
        let folder = fixtures_dir().join("prequantized").join(name);
        check_deviation(
            &folder,
            &options(DeviceChoice::Cpu),
            reference.path(),
            bound,
        );
    }
}

#[test]
fn quantising_as_it_loads_is_like_loading_a_quantised_file() {
    let quantized = |name: &str| LoadOptions {
        quantize: Some(name.parse().unwrap()),
        ..options(DeviceChoice::Cpu)
    };
    // 64 and 96 columns: the 256-wide formats give way.
    for (name, bound) in [("q8_0", 0.05), ("q5_1", 0.3), ("q4_k_m", 0.4)] {
        let folder = checkpoint("llama2");
        check_deviation(&folder, &quantized(name), &folder, bound);
    }
    // The same weights as a file that somebody else quantised.
    let mut by_others = Harness::gguf(
        &gguf_fixture("llama3.2-q8_0.gguf"),
        &options(DeviceChoice::Cpu),
    );
    let mut here = Harness::huggingface(&checkpoint("llama3.2"), &quantized("q8_0"));
    let prompt = &goldens("llama3.2")[0].prompt;
    let error = relative_deviation(&here.whole(prompt), &by_others.whole(prompt));
    assert!(error < 1e-5, "off by {error}");
    let mut wide = Harness::huggingface(&checkpoint("llama-k256"), &quantized("q4_k_m"));
    assert_eq!(wide.model.info().quantization, "Q4_K_M");
    let golden = &goldens("llama-k256")[0];
    let error = relative_deviation(&wide.whole(&golden.prompt), &golden.logits);
    assert!(error < 0.3, "off by {error}");
}

#[test]
fn a_summary_says_what_loading_will_take() {
    let quantized = LoadOptions {
        quantize: Some("q4_0".parse().unwrap()),
        ..options(DeviceChoice::Cpu)
    };
    let folders = ["llama2", "llama3", "llama3.2", "mixtral", "phi3", "gemma3"]
        .map(|name| WeightFiles::HuggingFace(checkpoint(name)));
    let files = [
        "llama3.2-q8_0.gguf",
        "llama-k256-q4_k_m.gguf",
        "mixtral-f32.gguf",
    ]
    .map(|name| WeightFiles::Gguf(gguf_fixture(name)));
    let prequantized = ["gptq", "awq", "fp8-blocks"]
        .map(|name| WeightFiles::HuggingFace(fixtures_dir().join("prequantized").join(name)));
    for weights in folders.iter().chain(&files).chain(&prequantized) {
        let checkpoint = Checkpoint::open(weights).unwrap();
        for options in [&options(DeviceChoice::Cpu), &quantized] {
            let summary = checkpoint.summary(options).unwrap();
            let model = Harness::new(weights, options).model;
            let info = model.info();
            assert_eq!(summary.parameters, info.parameters, "{weights:?}");
            // GPTQ's zero points, which decide between two formats, are not looked at.
            let ratio = summary.weight_bytes as f64 / info.weight_bytes as f64;
            assert!((0.999..1.25).contains(&ratio), "{weights:?}: {ratio}");
            assert_eq!(summary.quantization, info.quantization, "{weights:?}");
            assert_eq!(summary.formats[0].1 > 0, info.parameters > 0);
            for dtype in [KvCacheDtype::F16, KvCacheDtype::F32] {
                let block = model.kv_block_bytes(dtype);
                assert_eq!(summary.kv_block_bytes(dtype), block, "{weights:?}");
            }
        }
    }
    assert!(Quantization::names().any(|name| name == "q4_k_m"));
}
