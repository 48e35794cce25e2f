//! The same checkpoints as GGUF, written by an independent writer (`tests/fixtures/gguf/generate.py`).

use matou_model::{Checkpoint, DeviceChoice, Dtype, GgufFile, LoadOptions, WeightFiles};
use matou_testkit::gpu;

use super::harness::{
    Harness, bits, gguf_fixture, goldens, options, relative_deviation, relative_error,
};
use super::parity::check_runs;

/// An unquantised file is as good as the checkpoint it was made from.
fn check_f32(file: &str, checkpoint: &str) {
    let mut model = Harness::gguf(&gguf_fixture(file), &options(DeviceChoice::Cpu));
    check_runs(&mut model, &goldens(checkpoint), true);
}

/// A quantised file against the same weights dequantised by the independent writer: what differs is
/// the 8-bit rounding of activations.
fn check_quantized(name: &str, checkpoint: &str, quantization: &str) {
    let file = gguf_fixture(&format!("{name}.gguf"));
    let dequantized = gguf_fixture(&format!("{name}-dequantized.gguf"));
    let mut reference = Harness::gguf(&dequantized, &options(DeviceChoice::Cpu));
    let devices = [DeviceChoice::Cpu, DeviceChoice::CpuReference];
    for device in devices.into_iter().chain(gpu()) {
        let mut model = Harness::gguf(&file, &options(device));
        assert_eq!(model.model.info().quantization, quantization);
        for golden in goldens(checkpoint) {
            let logits = model.whole(&golden.prompt);
            let error = relative_deviation(&logits, &reference.whole(&golden.prompt));
            assert!(error < 0.04, "{name} on {device:?}: off by {error}");
            if device != DeviceChoice::CpuReference {
                let chunked = model.chunked(&golden.prompt, 3);
                assert_eq!(bits(&chunked), bits(&logits), "chunks change the logits");
            }
        }
    }
}

#[test]
fn llama_with_rope_factors_and_interleaved_heads_agrees_with_its_reference() {
    check_f32("llama3.2-f32.gguf", "llama3.2");
}

#[test]
fn llama_with_biases_in_four_shards_agrees_with_its_reference() {
    check_f32("llama-bias-f32-00001-of-00004.gguf", "llama-bias");
}

#[test]
fn mixtral_with_merged_experts_agrees_with_its_reference() {
    check_f32("mixtral-f32.gguf", "mixtral");
    check_f32("mixtral-separate-f32.gguf", "mixtral");
}

#[test]
fn ministral3_from_gguf_agrees_with_its_reference() {
    check_f32("ministral3-f32.gguf", "ministral3");
}

#[test]
fn smollm3_agrees_with_its_reference() {
    check_f32("smollm3-f32.gguf", "smollm3");
}

#[test]
fn granite_agrees_with_its_reference() {
    check_f32("granite-f32.gguf", "granite");
}

#[test]
fn qwen2_and_qwen3_agree_with_their_references() {
    check_f32("qwen2-f32.gguf", "qwen2");
    check_f32("qwen3-f32.gguf", "qwen3");
}

#[test]
fn phi3_agrees_with_its_reference() {
    check_f32("phi3-f32.gguf", "phi3");
}

#[test]
fn gemma3_agrees_with_its_reference() {
    check_f32("gemma3-f32.gguf", "gemma3");
}

#[test]
fn q8_0_agrees_with_its_dequantised_self() {
    check_quantized("llama3.2-q8_0", "llama3.2", "Q8_0");
}

#[test]
fn q4_k_beside_q6_k_agrees_with_its_dequantised_self() {
    check_quantized("llama-k256-q4_k_m", "llama-k256", "Q4_K");
}

#[test]
fn dense_weights_are_converted_to_the_type_asked_for() {
    let golden = &goldens("llama3.2")[2];
    for (dtype, name, tolerance) in [
        (Dtype::F16, "F16", 2e-3),
        (Dtype::Bf16, "BF16", 2e-2),
        (Dtype::F32, "F32", 1e-4),
    ] {
        let options = LoadOptions {
            dtype,
            ..options(DeviceChoice::Cpu)
        };
        let mut model = Harness::gguf(&gguf_fixture("llama3.2-f32.gguf"), &options);
        assert_eq!(model.model.info().quantization, name);
        let error = relative_error(&model.whole(&golden.prompt), &golden.logits);
        assert!(error < tolerance, "{name}: off by {error}");
    }
}

/// The bytes of a fixture with further metadata: keys, and their values with the types before them.
fn with_metadata(file: &str, entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    const KEYS: usize = 16;
    const HEADER: usize = 24;
    let mut bytes = std::fs::read(gguf_fixture(file)).unwrap();
    let count = u64::from_le_bytes(bytes[KEYS..HEADER].try_into().unwrap());
    let count = count + entries.len() as u64 + 1;
    bytes[KEYS..HEADER].copy_from_slice(&count.to_le_bytes());
    let mut added = Vec::new();
    for (key, value) in entries {
        added.extend(text(key));
        added.extend(value);
    }
    // The last one fills up to the alignment of what follows.
    added.extend(text("x"));
    let missing = (added.len() + string("").len()).next_multiple_of(32) - added.len();
    added.extend(string(&"-".repeat(missing - string("").len())));
    bytes.splice(HEADER..HEADER, added);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn string(value: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &text(value)].concat()
}

/// The bytes of a fixture with `general.file_type` among its metadata.
fn with_file_type(file: &str, file_type: u32) -> Vec<u8> {
    let value = [4u32.to_le_bytes(), file_type.to_le_bytes()].concat();
    with_metadata(file, &[("general.file_type", value)])
}

#[test]
fn no_scaling_of_rope_is_none_whatever_factor_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let factor = [6u32.to_le_bytes(), 1f32.to_le_bytes()].concat();
    let entries = [
        ("llama.rope.scaling.type", string("none")),
        ("llama.rope.scaling.factor", factor),
    ];
    std::fs::write(&path, with_metadata("llama-k256-q4_k_m.gguf", &entries)).unwrap();
    let checkpoint = Checkpoint::open(&WeightFiles::Gguf(path)).unwrap();
    checkpoint.load(&options(DeviceChoice::Cpu)).unwrap();
}

#[test]
fn a_file_is_called_by_the_mix_that_it_says_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let options = options(DeviceChoice::Cpu);
    for (file, file_type, expected) in [
        // Where rows are no multiple of 256, a mix falls back to Q8_0 and the like.
        ("llama3.2-q8_0.gguf", 15, "Q4_K_M"),
        ("llama3.2-q8_0.gguf", 7, "Q8_0"),
        ("llama-k256-q4_k_m.gguf", 15, "Q4_K_M"),
        // File types that cannot be, or that nobody knows.
        ("llama3.2-q8_0.gguf", 1, "Q8_0"),
        ("llama3.2-q8_0.gguf", 9999, "Q8_0"),
        ("llama3.2-f32.gguf", 15, "F32"),
    ] {
        std::fs::write(&path, with_file_type(file, file_type)).unwrap();
        let checkpoint = Checkpoint::open(&WeightFiles::Gguf(path.clone())).unwrap();
        let summary = checkpoint.summary(&options).unwrap();
        assert_eq!(summary.quantization, expected, "{file} of type {file_type}");
        let model = checkpoint.load(&options).unwrap();
        assert_eq!(model.info().quantization, expected);
    }
}

#[test]
fn progress_ends_at_the_total() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let options = LoadOptions {
        progress: Some(Box::new(move |done, total| {
            sink.lock().unwrap().push((done, total))
        })),
        ..options(DeviceChoice::Cpu)
    };
    Harness::gguf(&gguf_fixture("llama3.2-q8_0.gguf"), &options);
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted());
    let (done, total) = *seen.last().unwrap();
    // All but the rope factors, which belong to the configuration: 8 of them.
    assert_eq!(done + 8 * 4, total);
}

#[test]
fn metadata_and_tensors_can_be_listed_without_loading() {
    let file = GgufFile::open(&gguf_fixture("llama-k256-q4_k_m.gguf")).unwrap();
    let metadata = file.metadata();
    assert_eq!(
        metadata.get("general.architecture").unwrap().as_str(),
        Some("llama")
    );
    assert_eq!(
        metadata.get("llama.embedding_length").unwrap().as_u64(),
        Some(256)
    );
    assert_eq!(
        metadata.get("llama.rope.freq_base").unwrap().as_f64(),
        Some(500_000.0)
    );
    assert!(metadata.iter().map(|(key, _)| key).is_sorted());
    let tensor = file.tensor("blk.0.attn_v.weight").unwrap();
    assert_eq!(
        (tensor.shape(), tensor.type_name().as_str()),
        (&[128, 256][..], "Q6_K")
    );
    assert_eq!(file.tensors().count(), 12);
}
