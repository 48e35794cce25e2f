//! What people call the format of a model's weights: `Q4_K_M` is a mix of formats, which no single
//! tensor tells, and `GPTQ` one of files that become something else in memory.

use std::collections::BTreeMap;

use matou_kernels::Format;

use crate::load_options::LoadOptions;
use crate::weights::TensorInfo;

/// The name for weights of which most are `main` in memory.
///
/// What was quantised before is called what its files say, `stated`, as loading leaves it as it is;
/// other weights what the options make of them.
pub(crate) fn format_name(
    stated: Option<&str>,
    tensors: &[TensorInfo],
    options: &LoadOptions,
    main: &str,
) -> String {
    let Some((stored, packed_as)) = main_stored(tensors) else {
        return main.to_owned();
    };
    if stored.block_size() > 1 {
        return stated.unwrap_or(main).to_owned();
    }
    match options.quantize {
        Some(quantization) => quantization.name().to_ascii_uppercase(),
        None if packed_as.is_some() && options.dtype.weight_format().is_none() => "FP8".to_owned(),
        None => main.to_owned(),
    }
}

/// How most weights of the matrices are stored, and what they are packed as.
fn main_stored(tensors: &[TensorInfo]) -> Option<(Format, Option<Format>)> {
    let mut weights: BTreeMap<&str, (u64, &TensorInfo)> = BTreeMap::new();
    for tensor in tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
        let size = tensor.shape.iter().map(|&size| size as u64);
        let size = size.fold(1, u64::saturating_mul);
        let kind = tensor.packed_as.unwrap_or(tensor.format).name();
        let (sum, _) = weights.entry(kind).or_insert((0, tensor));
        *sum = sum.saturating_add(size);
    }
    let (_, tensor) = weights.into_values().max_by_key(|(sum, _)| *sum)?;
    Some((tensor.format, tensor.packed_as))
}

/// The quantised mixes among the values of `general.file_type` in GGUF files.
pub(crate) fn file_type_name(number: u64) -> Option<&'static str> {
    Some(match number {
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_options::Dtype;

    fn matrix(rows: usize, format: Format, packed_as: Option<Format>) -> TensorInfo {
        TensorInfo {
            name: "w".to_owned(),
            shape: vec![rows, 256],
            format,
            packed_as,
        }
    }

    #[test]
    fn a_mix_is_called_what_its_file_says_and_else_what_most_of_it_is() {
        let tensors = [
            matrix(9, Format::Q8_0, None),
            matrix(1, Format::Q4K, None),
            matrix(99, Format::F32, None),
        ];
        let options = LoadOptions::default();
        let name = |stated, tensors: &[TensorInfo]| format_name(stated, tensors, &options, "Q8_0");
        assert_eq!(name(Some("Q4_K_M"), &tensors[..2]), "Q4_K_M");
        assert_eq!(name(None, &tensors[..2]), "Q8_0");
        // A file type that its tensors belie.
        assert_eq!(format_name(Some("Q4_0"), &tensors, &options, "F32"), "F32");
        assert_eq!(format_name(None, &[], &options, "none"), "none");
    }

    #[test]
    fn what_is_quantised_as_it_loads_is_called_what_was_asked_for() {
        let quantize = |name: &str| LoadOptions {
            quantize: Some(name.parse().unwrap()),
            ..LoadOptions::default()
        };
        let float = [matrix(1, Format::Bf16, None)];
        assert_eq!(
            format_name(None, &float, &quantize("q4_k_m"), "Q4_K"),
            "Q4_K_M"
        );
        let quantised = [matrix(1, Format::Q6K, None)];
        assert_eq!(
            format_name(Some("Q6_K"), &quantised, &quantize("q4_k_m"), "Q6_K"),
            "Q6_K"
        );
    }

    #[test]
    fn eight_bit_floats_keep_their_name_unless_they_become_something_else() {
        let tensors = [matrix(1, Format::F32, Some(Format::Q8_0))];
        let name = |options, main| format_name(None, &tensors, &options, main);
        assert_eq!(name(LoadOptions::default(), "Q8_0"), "FP8");
        let wide = LoadOptions {
            dtype: Dtype::F16,
            ..LoadOptions::default()
        };
        assert_eq!(name(wide, "F16"), "F16");
    }
}
