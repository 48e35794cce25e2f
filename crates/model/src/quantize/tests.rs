//! Against `gguf.quants`, and within bounds where that has no encoder.

use safetensors::SafeTensors;

use super::*;

fn target(name: &str, layers: usize, tied: bool) -> TargetFormats {
    TargetFormats {
        dense: None,
        quantization: Some(name.parse().unwrap()),
        layers,
        tied,
    }
}

#[test]
fn simple_formats_have_the_bytes_of_the_reference() {
    let path = matou_testkit::fixtures_dir().join("prequantized/quantize.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = tensors.tensor("values").unwrap();
    let view = TensorView {
        format: Format::F32,
        shape: values.shape().to_vec(),
        bytes: values.data().into(),
        packed_as: None,
    };
    for format in [
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
    ] {
        let expected = tensors.tensor(format.name()).unwrap();
        let actual = convert(&view, format).unwrap();
        assert!(actual == expected.data(), "{format} differs");
    }
}

#[test]
fn every_format_stays_within_its_error() {
    // Root mean square errors, as shares of the values': what so many bits leave at best is
    // two thirds of these.
    let bounds = [
        (Format::Q2K, 0.35),
        (Format::Q3K, 0.18),
        (Format::Q4_0, 0.11),
        (Format::Q4_1, 0.10),
        (Format::Q4K, 0.09),
        (Format::Q5_0, 0.055),
        (Format::Q5_1, 0.05),
        (Format::Q5K, 0.045),
        (Format::Q6K, 0.025),
        (Format::Q8_0, 0.007),
        (Format::Bf16, 0.003),
        (Format::F16, 0.0005),
    ];
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    let values: Vec<f32> = (0..16 * 512)
        .map(|_| (noise() + noise() + noise() + noise()) as f32)
        .collect();
    let view = TensorView {
        format: Format::F32,
        shape: vec![16, 512],
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        packed_as: None,
    };
    for (format, bound) in bounds {
        let mut decoded = vec![0.0; values.len()];
        dequantize(format, &convert(&view, format).unwrap(), &mut decoded).unwrap();
        let square = |x: f32| f64::from(x) * f64::from(x);
        let error: f64 = values
            .iter()
            .zip(&decoded)
            .map(|(a, b)| square(a - b))
            .sum();
        let size: f64 = values.iter().map(|&x| square(x)).sum();
        let share = (error / size).sqrt();
        assert!(share < bound, "{format}: {share}");
    }
}

#[test]
fn mixes_keep_the_head_and_the_finer_matrices() {
    let mix = target("q4_k_m", 16, false);
    let format = |name: &str| mix.format(name, Format::Bf16, 512);
    assert_eq!(format("lm_head.weight"), Format::Q6K);
    assert_eq!(format("model.embed_tokens.weight"), Format::Q4K);
    assert_eq!(format("model.layers.0.mlp.down_proj.weight"), Format::Q6K);
    assert_eq!(format("model.layers.3.mlp.down_proj.weight"), Format::Q4K);
    assert_eq!(
        format("model.layers.4.self_attn.v_proj.weight"),
        Format::Q6K
    );
    assert_eq!(
        format("model.layers.0.self_attn.q_proj.weight"),
        Format::Q4K
    );
    assert_eq!(
        format("model.layers.0.block_sparse_moe.gate.weight"),
        Format::Bf16
    );
    let tied = target("q4_k_m", 16, true);
    assert_eq!(
        tied.format("model.embed_tokens.weight", Format::F32, 512),
        Format::Q6K
    );
}

#[test]
fn what_was_fp8_is_packed_as_told_or_else_as_its_source_says() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut target = target("q4_0", 2, false);
    let format = |target: &TargetFormats, columns| {
        target.format_of(name, Format::F32, Some(Format::Q8_0), columns)
    };
    assert_eq!(format(&target, 64), Format::Q4_0);
    target.quantization = None;
    assert_eq!(format(&target, 64), Format::Q8_0);
    assert_eq!(format(&target, 60), Format::F16);
    target.dense = Some(Format::Bf16);
    assert_eq!(format(&target, 64), Format::Bf16);
}

#[test]
fn rows_that_do_not_fit_get_the_next_best_format() {
    let mix = target("Q4_K_M", 2, false);
    let format = |columns| mix.format("model.layers.0.mlp.up_proj.weight", Format::F16, columns);
    assert_eq!(format(256), Format::Q4K);
    assert_eq!(format(96), Format::Q5_0);
    assert_eq!(format(100), Format::F16);
    // What is quantised already is left alone.
    assert_eq!(
        mix.format("lm_head.weight", Format::Q4_0, 256),
        Format::Q4_0
    );
    assert!("q9".parse::<Quantization>().unwrap_err().contains("q4_k_m"));
}
