//! FP8 weights: a sign, four bits of exponent (biased by 7) and three of mantissa, no infinities
//! (<https://arxiv.org/abs/2209.05433>).
//!
//! The scale is one for the tensor, one for each row, or one for each block of the matrix
//! (`weight_scale_inv`, which despite its name is multiplied with, as all of them are).

use matou_kernels::Format;

use super::super::TensorView;
use super::super::safetensors::RawTensor;
use super::module::QuantizedModule;
use crate::error::Result;

/// What the scale of `weight` may be called: DeepSeek's and Qwen's, compressed-tensors', Mistral's.
const SCALES: [&str; 3] = ["weight_scale_inv", "weight_scale", "qscale_weight"];

/// What the weights are packed as unless told otherwise.
pub(super) const PACKED_AS: Format = Format::Q8_0;

/// Whether a tensor is the scale of another, of weights or of activations.
pub(super) fn is_scale(name: &str) -> bool {
    let part = name.rsplit('.').next().unwrap_or_default();
    SCALES.contains(&part) || ["input_scale", "qscale_act", "k_scale", "v_scale"].contains(&part)
}

/// The weights of a module, times their scales.
pub(super) fn dequantize(
    module: &QuantizedModule<'_>,
    weight: RawTensor<'_>,
) -> Result<TensorView<'static>> {
    let &[rows, columns] = weight.shape else {
        return Err(module.invalid(format!("weight has shape {:?}", weight.shape)));
    };
    let mut found = None;
    for name in SCALES {
        if let Some(scales) = module.floats(name)? {
            found = Some(scales);
            break;
        }
    }
    let Some((scales, shape)) = found else {
        return Err(module.invalid(format!(
            "FP8 weights without a scale: there is none of {}",
            SCALES.join(", ")
        )));
    };
    let block = block_size(shape, rows, columns).ok_or_else(|| {
        module.invalid(format!(
            "scales of shape {shape:?} do not fit a matrix of {rows} × {columns}"
        ))
    })?;
    let values = values();
    let across = columns.div_ceil(block.1);
    let mut bytes = Vec::with_capacity(4 * weight.bytes.len());
    for (row, codes) in weight.bytes.chunks_exact(columns.max(1)).enumerate() {
        let scales = &scales[row / block.0 * across..][..across];
        for (codes, scale) in codes.chunks(block.1).zip(scales) {
            let products = codes.iter().map(|&code| values[usize::from(code)] * scale);
            bytes.extend(products.flat_map(f32::to_le_bytes));
        }
    }
    Ok(TensorView {
        format: Format::F32,
        shape: vec![rows, columns],
        bytes: bytes.into(),
        packed_as: Some(PACKED_AS),
    })
}

/// Rows and columns that share a scale. Sizes of blocks are powers of two: the one that makes so
/// many blocks, if there is one.
fn block_size(scales: &[usize], rows: usize, columns: usize) -> Option<(usize, usize)> {
    let along = |size: usize, count: usize| match count {
        0 => None,
        1 => Some(size.max(1)),
        _ if count == size => Some(1),
        _ => (4..16)
            .map(|power| 1 << power)
            .find(|block| size.div_ceil(*block) == count),
    };
    match *scales {
        [] | [1] => Some((rows.max(1), columns.max(1))),
        [count] if count == rows => Some((1, columns.max(1))),
        [down, across] => Some((along(rows, down)?, along(columns, across)?)),
        _ => None,
    }
}

/// What each byte stands for.
fn values() -> [f32; 256] {
    std::array::from_fn(|code| {
        let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f32);
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa * 2f32.powi(-9),
            _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
        };
        if code & 128 == 0 {
            magnitude
        } else {
            -magnitude
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_for_the_floats_of_the_paper() {
        let values = values();
        assert_eq!(values[0x00], 0.0);
        assert_eq!(values[0x01], 2f32.powi(-9));
        assert_eq!(values[0x08], 2f32.powi(-6));
        assert_eq!(values[0x38], 1.0);
        assert_eq!(values[0x7e], 448.0);
        assert_eq!(values[0xb8], -1.0);
        assert!(values[0x7f].is_nan() && values[0xff].is_nan());
    }

    #[test]
    fn blocks_follow_from_the_number_of_scales() {
        assert_eq!(block_size(&[], 64, 96), Some((64, 96)));
        assert_eq!(block_size(&[1], 64, 96), Some((64, 96)));
        assert_eq!(block_size(&[64, 1], 64, 96), Some((1, 96)));
        assert_eq!(block_size(&[64], 64, 96), Some((1, 96)));
        assert_eq!(block_size(&[2, 3], 256, 300), Some((128, 128)));
        assert_eq!(block_size(&[3, 5], 64, 96), None);
        assert_eq!(block_size(&[0, 0], 64, 96), None);
    }
}
