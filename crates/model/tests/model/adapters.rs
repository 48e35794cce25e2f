//! Adapters against their reference logits, beside each other, and refused where they do not fit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use matou_model::{
    Adapter, AdapterFiles, Checkpoint, DeviceChoice, ForwardBatch, LoadOptions, Quantization,
    WeightFiles,
};
use matou_testkit::fixtures_dir;
use tempfile::TempDir;

use super::harness::{
    Harness, bits, block_table, checkpoint, gguf_fixture, goldens_in, options, relative_deviation,
    relative_error,
};
use super::parity::{TOLERANCE, check_runs};

fn lora(name: &str) -> PathBuf {
    fixtures_dir().join("lora").join(name)
}

/// The base that the config names.
fn base(name: &str) -> PathBuf {
    let text = std::fs::read_to_string(lora(name).join("adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    checkpoint(config["base_model_name_or_path"].as_str().unwrap())
}

fn adapted(name: &str, device: DeviceChoice) -> Harness {
    let mut model = Harness::huggingface(&base(name), &options(device));
    model.adapt(&lora(name)).unwrap();
    model
}

macro_rules! agrees {
    ($($test:ident: $adapter:literal,)*) => {
        $(
            #[test]
            fn $test() {
                let goldens = goldens_in(&lora($adapter));
                for device in [DeviceChoice::Cpu, DeviceChoice::CpuReference] {
                    let is_cpu = device == DeviceChoice::Cpu;
                    check_runs(&mut adapted($adapter, device), &goldens, is_cpu);
                }
            }
        )*
    };
}

agrees! {
    an_adapter_of_two_projections_agrees_with_its_reference: "llama3.2-qv",
    an_adapter_of_attention_agrees_with_its_reference: "llama3.2-qkvo",
    rank_stabilised_scales_agree_with_their_reference: "llama3.2-rslora",
    biases_of_b_agree_with_their_reference: "llama3.2-lora-bias",
    ranks_and_alphas_by_pattern_agree_with_their_reference: "llama3.2-patterns",
    targets_by_expression_agree_with_their_reference: "llama3.2-regex",
    replaced_biases_agree_with_their_reference: "llama-bias-lora-only",
    an_adapter_of_all_layers_agrees_with_its_reference: "mistral-v0.3-all",
    a_replaced_head_agrees_with_its_reference: "mistral-v0.3-head",
    an_adapter_of_one_layer_agrees_with_its_reference: "mistral-v0.3-layer1",
    an_adapter_beside_experts_agrees_with_its_reference: "mixtral-qkvo",
    an_adapter_beside_head_norms_agrees_with_its_reference: "qwen3-all",
    an_adapter_in_bf16_agrees_with_its_reference: "qwen3-bf16",
}

#[test]
fn stretched_rows_agree_with_their_reference() {
    let goldens = goldens_in(&lora("llama3.2-dora"));
    check_runs(
        &mut adapted("llama3.2-dora", DeviceChoice::Cpu),
        &goldens,
        true,
    );
    let mut elsewhere =
        Harness::huggingface(&base("llama3.2-dora"), &options(DeviceChoice::CpuReference));
    let error = elsewhere
        .adapt(&lora("llama3.2-dora"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("DoRA works on the CPU only"), "{error}");
}

#[test]
fn gguf_adapters_agree_with_the_reference_over_either_file_of_the_base() {
    for name in [
        "llama3.2-qv",
        "llama3.2-qkvo",
        "llama3.2-rslora",
        "mistral-v0.3-all",
        "qwen3-all",
    ] {
        let goldens = goldens_in(&lora(name));
        let mut model = Harness::huggingface(&base(name), &options(DeviceChoice::Cpu));
        model.adapt(&lora(name).join("adapter.gguf")).unwrap();
        check_runs(&mut model, &goldens, true);
    }
    for (name, file) in [
        ("llama3.2-qkvo", "llama3.2-f32.gguf"),
        ("qwen3-all", "qwen3-f32.gguf"),
    ] {
        let goldens = goldens_in(&lora(name));
        for adapter in [lora(name), lora(name).join("adapter.gguf")] {
            let mut model = Harness::gguf(&gguf_fixture(file), &options(DeviceChoice::Cpu));
            model.adapt(&adapter).unwrap();
            check_runs(&mut model, &goldens, true);
        }
    }
}

/// Adapters over quantised weights deviate from f32 as those weights do without them. (One that changes
/// much makes more of the same roundings: these change the logits by about as much as they are.)
#[test]
fn packed_weights_stay_as_close_with_an_adapter_as_without() {
    for quantization in ["q8_0", "q4_1", "q4_0"] {
        let options = LoadOptions {
            quantize: Some(quantization.parse::<Quantization>().unwrap()),
            ..options(DeviceChoice::Cpu)
        };
        for name in [
            "llama3.2-qkvo",
            "llama3.2-patterns",
            "llama3.2-dora",
            "mistral-v0.3-head",
        ] {
            let golden = &goldens_in(&lora(name))[2];
            let base_golden = &goldens_in(&base(name))[2];
            let mut model = Harness::huggingface(&base(name), &options);
            let alone = model.whole(&base_golden.prompt);
            let alone = relative_deviation(&alone, &base_golden.logits);
            let without = relative_deviation(&model.whole(&golden.prompt), &golden.logits);
            model.adapt(&lora(name)).unwrap();
            let with = relative_deviation(&model.whole(&golden.prompt), &golden.logits);
            println!(
                "{name} over {quantization}: base {alone:.4}, adapter {with:.4}, none {without:.4}"
            );
            assert!(
                with < 1.5 * alone,
                "{name} over {quantization}: {with} against {alone}"
            );
            assert!(
                with < 0.5 * without,
                "{name} over {quantization}: {with} against {without}"
            );
        }
    }
}

/// Three adapters and none in one step, and each alone: the same bits.
#[test]
fn adapters_in_one_step_do_not_touch_each_other() {
    let names = ["llama3.2-qkvo", "llama3.2-patterns", "llama3.2-dora"];
    for options in [
        options(DeviceChoice::Cpu),
        LoadOptions {
            quantize: Some("q8_0".parse::<Quantization>().unwrap()),
            ..options(DeviceChoice::Cpu)
        },
    ] {
        let mut model = Harness::huggingface(&checkpoint("llama3.2"), &options);
        let mut adapters: Vec<Option<Arc<Adapter>>> = vec![None];
        for name in names {
            model.adapt(&lora(name)).unwrap();
            adapters.push(model.adapter.take());
        }
        let prompt = &goldens_in(&lora(names[0]))[2].prompt[..20];
        let vocab = model.model.info().vocab_size;
        let alone: Vec<Vec<f32>> = adapters
            .iter()
            .map(|adapter| {
                model.adapter = adapter.clone();
                model.whole(prompt)
            })
            .collect();
        assert!((1..4).all(|i| bits(&alone[i]) != bits(&alone[0])));
        // Four requests in three tables' worth of blocks: two blocks each.
        let tables: Vec<Vec<u32>> = (0..4).map(|i| vec![2 * i, 2 * i + 1]).collect();
        for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
            let mut batch = ForwardBatch::default();
            for &which in &order {
                batch.push_request(prompt, 0, &tables[which], [3, prompt.len() - 1]);
                if let Some(adapter) = &adapters[which] {
                    batch.set_adapter(adapter.clone());
                }
            }
            let logits = model.model.forward(&batch).unwrap();
            for (place, &which) in order.iter().enumerate() {
                for (row, position) in [(0, 3), (1, prompt.len() - 1)] {
                    assert_eq!(
                        bits(logits.row(2 * place + row)),
                        bits(&alone[which][position * vocab..][..vocab]),
                    );
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let error = refusal("llama3.2", &lora("refuse-wrong-base"));
    let named = ["mistral-v0.3", "lora_", "where this model takes"];
    assert!(named.iter().any(|name| error.contains(name)), "{error}");
    let error = refusal("mistral-v0.3", &lora("refuse-wrong-base"));
    assert!(error.contains("refuse-wrong-base"), "{error}");
    // A model's layers that another has not.
    let error = refusal("phi3", &lora("llama3.2-qv"));
    assert!(error.contains("self_attn.q_proj"), "{error}");
    let error = refusal("llama3.2", &gguf_fixture("llama3.2-f32.gguf"));
    assert!(error.contains("model"), "{error}");
    let error = refusal("phi3", &lora("llama3.2-qkvo").join("adapter.gguf"));
    assert!(error.contains("adapts nothing"), "{error}");
    assert!(refusal("llama3.2", Path::new("nowhere")).contains("nowhere"));
    assert!(refusal("llama3.2", &lora("README.md")).contains("adapter_config.json"));
}

/// Each change of the config that would have it applied by half.
#[test]
fn what_would_be_applied_by_half_is_refused() {
    use serde_json::json;
    for (field, value, named) in [
        ("peft_type", json!("IA3"), "peft_type"),
        ("r", json!(5), "rank 4"),
        ("r", json!(0), "`r`"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out"),
        ("use_dora", json!(true), "use_dora"),
        ("layer_replication", json!([[0, 2]]), "layer_replication"),
        (
            "trainable_token_indices",
            json!([1]),
            "trainable_token_indices",
        ),
        ("target_parameters", json!(["x"]), "target_parameters"),
        (
            "alora_invocation_tokens",
            json!([1, 2]),
            "alora_invocation_tokens",
        ),
        (
            "init_lora_weights",
            json!("pissa_niter_4"),
            "init_lora_weights",
        ),
        ("rank_pattern", json!({"(": 4}), "rank_pattern"),
        (
            "alpha_pattern",
            json!({"(a{1000}){1000}": 4.0}),
            "alpha_pattern",
        ),
        ("lora_alpha", json!("many"), "adapter_config.json"),
    ] {
        let folder = changed("llama3.2-qv", |config| config[field] = value.clone());
        let error = refusal("llama3.2", folder.path());
        assert!(error.contains(named), "{field}: {error}");
    }
    let without = changed("llama3.2-qv", |_| ());
    std::fs::rename(
        without.path().join("adapter_model.safetensors"),
        without.path().join("adapter_model.bin"),
    )
    .unwrap();
    assert!(refusal("llama3.2", without.path()).contains("pickle"));
}

/// Truncated and garbled files end in errors.
#[test]
fn corrupt_files_are_errors() {
    for name in ["adapter_model.safetensors", "adapter.gguf"] {
        let bytes = std::fs::read(lora("llama3.2-qv").join(name)).unwrap();
        for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            let folder = changed("llama3.2-qv", |_| ());
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes[..len]).unwrap();
            let opened = if name.ends_with("gguf") {
                path
            } else {
                folder.path().to_owned()
            };
            assert!(!refusal("llama3.2", &opened).is_empty());
        }
    }
}

/// Shapes whose sizes no memory has are told, whichever file states them.
#[test]
fn impossible_shapes_are_errors() {
    let folder = changed("llama3.2-qv", |_| ());
    let header = format!(
        "{{\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\":\
         {{\"dtype\":\"F32\",\"shape\":[{},0],\"data_offsets\":[0,0]}}}}",
        u64::MAX
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(folder.path().join("adapter_model.safetensors"), bytes).unwrap();
    if let Ok(files) = AdapterFiles::open(folder.path()) {
        files.memory_bytes();
    }
    assert!(!refusal("llama3.2", folder.path()).is_empty());
}

#[test]
fn more_expressions_than_there_are_modules_are_refused() {
    let folder = changed("llama3.2-qv", |config| {
        let patterns = (0..1000).map(|i| (format!("(q|k)_proj{i}"), serde_json::json!(4)));
        config["rank_pattern"] = serde_json::Value::Object(patterns.collect());
    });
    let error = refusal("llama3.2", folder.path());
    assert!(error.contains("regular expressions"), "{error}");
    // Names, one for each module, are what adapters with ranks of their own have.
    let folder = changed("llama3.2-qv", |config| {
        let patterns = (0..5000).map(|i| {
            (
                format!("model.layers.{i}.self_attn.k_proj"),
                serde_json::json!(9),
            )
        });
        config["rank_pattern"] = serde_json::Value::Object(patterns.collect());
    });
    let mut model = Harness::huggingface(&checkpoint("llama3.2"), &options(DeviceChoice::Cpu));
    model.adapt(folder.path()).unwrap();
}

#[test]
fn an_adapter_of_another_model_never_runs() {
    let mut one = adapted("llama3.2-qv", DeviceChoice::Cpu);
    let mut other = Harness::huggingface(&checkpoint("llama3.2"), &options(DeviceChoice::Cpu));
    let mut batch = ForwardBatch::default();
    batch.push_request(&[1, 2], 0, &block_table(0), [1]);
    batch.set_adapter(one.adapter.clone().unwrap());
    assert!(one.model.forward(&batch).is_ok());
    let error = other.model.forward(&batch).unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
}

#[test]
fn the_memory_of_an_adapter_is_known_before_it_is_loaded() {
    for name in [
        "llama3.2-qv",
        "llama3.2-qkvo",
        "mistral-v0.3-head",
        "llama3.2-dora",
    ] {
        let files = AdapterFiles::open(&lora(name)).unwrap();
        let weights = WeightFiles::HuggingFace(base(name));
        let model = Checkpoint::open(&weights).unwrap();
        let model = model.load(&options(DeviceChoice::Cpu)).unwrap();
        let adapter = model.adapter_targets().unwrap().load(&files).unwrap();
        let (said, is) = (files.memory_bytes(), adapter.bytes());
        assert!(
            is <= said && said <= 2 * is,
            "{name}: {said} bytes said, {is} taken"
        );
    }
}

fn refusal(base: &str, adapter: &Path) -> String {
    let mut model = Harness::huggingface(&checkpoint(base), &options(DeviceChoice::Cpu));
    let error = model.adapt(adapter).unwrap_err().to_string();
    assert!(model.adapter.is_none());
    error
}

/// A copy of an adapter with another config.
fn changed(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(lora(name).join("adapter_config.json")).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    std::fs::write(
        folder.path().join("adapter_config.json"),
        config.to_string(),
    )
    .unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(lora(name).join(weights), folder.path().join(weights)).unwrap();
    folder
}

#[test]
fn the_base_is_as_close_to_its_reference_after_an_adapter_as_before() {
    let golden = &goldens_in(&checkpoint("llama3.2"))[2];
    let mut model = adapted("llama3.2-qkvo", DeviceChoice::Cpu);
    model.whole(&golden.prompt);
    model.adapter = None;
    assert!(relative_error(&model.whole(&golden.prompt), &golden.logits) <= TOLERANCE);
}
