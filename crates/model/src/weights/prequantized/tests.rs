//! Against matrices dequantised in numpy (`tests/fixtures/prequantized/generate.py`).

use std::fs;
use std::path::PathBuf;

use matou_kernels::{Format, dequantize};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::*;
use crate::config::FolderConfig;
use crate::weights::HUGGING_FACE;

fn folder(name: &str) -> PathBuf {
    matou_testkit::fixtures_dir()
        .join("prequantized")
        .join(name)
}

fn open(name: &str) -> PrequantizedSource {
    let (_, method) = FolderConfig::read(&folder(name))
        .and_then(FolderConfig::into_config)
        .unwrap();
    let files = SafetensorsSource::open(&folder(name), HUGGING_FACE).unwrap();
    PrequantizedSource::new(files, method)
}

/// The matrices of a folder have these formats, and stand for exactly the expected floats, but for
/// the rounding of `share` of a float.
fn check(name: &str, format: Format, packed_as: Option<Format>, share: f32) {
    let source = open(name);
    let bytes = fs::read(folder(name).join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(expected.len(), 2);
    for (tensor, expected) in expected.tensors() {
        let view = source.get(&tensor).unwrap().unwrap();
        assert_eq!((view.format, view.packed_as), (format, packed_as), "{name}");
        assert_eq!(view.shape, expected.shape(), "{name}");
        let mut values = vec![0.0; view.shape.iter().product()];
        dequantize(view.format, &view.bytes, &mut values).unwrap();
        for (actual, expected) in values.iter().zip(expected.data().as_chunks().0) {
            let expected = f32::from_le_bytes(*expected);
            assert!(
                (actual - expected).abs() <= share * expected.abs(),
                "{name}: {actual} for {expected}"
            );
        }
    }
    let described = source.tensors().unwrap();
    let described = described
        .iter()
        .find(|info| info.name.ends_with("q_proj.weight"));
    assert_eq!(described.unwrap().shape, [64, 64]);
    assert_eq!(source.tensors().unwrap().len(), 12, "{name}");
}

#[test]
fn symmetric_gptq_is_q4_0_exactly() {
    check("gptq", Format::Q4_0, None, 0.0);
}

#[test]
fn gptq_in_the_order_of_activations_is_rounded_to_halves() {
    check("gptq-act-order", Format::F16, None, 1.0 / 2048.0);
}

#[test]
fn awq_is_q5_0_exactly() {
    check("awq", Format::Q5_0, None, 0.0);
}

#[test]
fn symmetric_compressed_tensors_are_q4_0_exactly() {
    check("compressed-tensors", Format::Q4_0, None, 0.0);
}

#[test]
fn fp8_is_multiplied_out_exactly_whatever_shares_a_scale() {
    check("fp8-blocks", Format::F32, Some(Format::Q8_0), 0.0);
    check("fp8-tensor", Format::F32, Some(Format::Q8_0), 0.0);
}

/// A folder whose parts do not fit each other.
fn spoilt(qweight: &[usize], scales: &[usize], qzeros: &[usize], g_idx: u32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |shape: &[usize], size: usize| vec![0; shape.iter().product::<usize>() * size];
    let (codes, scale, zeros) = (bytes(qweight, 4), bytes(scales, 2), bytes(qzeros, 4));
    let listed: Vec<u8> = (0..64).flat_map(|_| g_idx.to_le_bytes()).collect();
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let tensors = [
        ("m.qweight", view(Dtype::I32, qweight, &codes)),
        ("m.scales", view(Dtype::F16, scales, &scale)),
        ("m.qzeros", view(Dtype::I32, qzeros, &zeros)),
        ("m.g_idx", view(Dtype::I32, &[64], &listed)),
    ];
    let file = folder.path().join("model.safetensors");
    fs::write(file, serialize(tensors, None).unwrap()).unwrap();
    let files = SafetensorsSource::open(folder.path(), HUGGING_FACE).unwrap();
    let method = Method::Gptq {
        zeros_less_one: true,
    };
    let source = PrequantizedSource::new(files, Some(method));
    source.get("m.weight").unwrap_err().to_string()
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused() {
    for message in [
        spoilt(&[8, 64], &[2, 32], &[2, 8], 0),
        spoilt(&[8, 64], &[2, 64], &[1, 8], 0),
        spoilt(&[8, 64], &[2, 64], &[2, 7], 0),
        spoilt(&[8, 60], &[2, 60], &[2, 7], 0),
        spoilt(&[4, 64], &[2, 64], &[2, 8], 0),
        spoilt(&[8, 64], &[2, 64], &[2, 8], 2),
    ] {
        assert!(message.contains("do not fit each other"), "{message}");
    }
    let message = spoilt(&[8, 64], &[5, 64], &[5, 8], 0);
    assert!(message.contains("5 groups of 64 inputs"), "{message}");
}

#[test]
fn the_method_may_stand_in_a_file_of_its_own() {
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path();
    fs::copy(
        folder("gptq").join("model.safetensors"),
        target.join("model.safetensors"),
    )
    .unwrap();
    let config = fs::read(folder("gptq").join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let method = config["quantization_config"].take();
    fs::write(target.join("config.json"), config.to_string()).unwrap();
    let method_of = |folder| {
        let config = FolderConfig::read(folder).and_then(FolderConfig::into_config);
        config.unwrap().1
    };
    assert_eq!(method_of(target), None);
    fs::write(target.join("quantize_config.json"), method.to_string()).unwrap();
    let expected = Method::Gptq {
        zeros_less_one: true,
    };
    assert_eq!(method_of(target), Some(expected));
}

#[test]
fn methods_that_are_not_supported_are_named() {
    let refuse = |config: serde_json::Value| {
        let config = serde_json::json!({"quantization_config": config});
        Method::from_config(std::path::Path::new("config.json"), &config)
            .unwrap_err()
            .to_string()
    };
    let message = refuse(serde_json::json!({"quant_method": "gptq", "bits": 3}));
    assert!(message.contains("gptq of 3 bits"), "{message}");
    let message = refuse(serde_json::json!({"quant_method": "bitsandbytes"}));
    assert!(
        message.contains("bitsandbytes") && message.contains("fp8"),
        "{message}"
    );
    let message = refuse(serde_json::json!({"quant_method": "awq", "bits": 4, "version": "gemv"}));
    assert!(message.contains("gemv"), "{message}");
}
