//! A matrix of an adapter, where the model computes.

use candle_core::Tensor;
use half::f16;
use matou_kernels::{Context, Format, PackedMatrix, dequantize};

use crate::error::{ModelError, Result};
use crate::weights::TensorView;

/// A matrix `[rows, columns]`.
pub(crate) enum AdapterMatrix {
    /// For the kernels.
    Packed(PackedMatrix),
    /// For candle: transposed.
    Dense(Tensor),
}

impl AdapterMatrix {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Packed(matrix) => matrix.bytes() as u64,
            Self::Dense(tensor) => (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64,
        }
    }
}

/// A matrix for the kernels.
pub(crate) fn pack_matrix(
    context: &Context,
    name: &str,
    view: &TensorView<'_>,
) -> Result<PackedMatrix> {
    let &[rows, columns] = view.shape.as_slice() else {
        return Err(bad(name, format!("has shape {:?}: no matrix", view.shape)));
    };
    PackedMatrix::pack(context, view.format, rows, columns, &view.bytes)
        .map_err(|error| bad(name, error.to_string()))
}

/// The values of a tensor.
pub(crate) fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
    let mut values = vec![0.0; view.shape.iter().product()];
    dequantize(view.format, &view.bytes, &mut values)
        .map_err(|error| bad(name, error.to_string()))?;
    Ok(values)
}

/// The same matrix in half precision, and what its products are to be multiplied with.
///
/// Adapters are read whole for every token beside weights of four bits or so: halving them is what
/// keeps them cheap. Multiplying by a power of two first (which is exact) brings the largest value to
/// about one, so that values that are small by nature keep all eleven bits. Gives `None` for what is
/// not f32, or not finite.
pub(super) fn halved(
    name: &str,
    view: &TensorView<'_>,
) -> Result<Option<(TensorView<'static>, f32)>> {
    if view.format != Format::F32 {
        return Ok(None);
    }
    let values = floats(name, view)?;
    let largest = values
        .iter()
        .fold(0.0f32, |largest, x| largest.max(x.abs()));
    if !largest.is_finite() || values.iter().any(|x| x.is_nan()) {
        return Ok(None);
    }
    let exponent = if largest > 0.0 {
        // So that neither the factor nor its inverse overflows.
        (largest.log2().floor() as i32).clamp(-100, 100)
    } else {
        0
    };
    let factor = 2f32.powi(-exponent);
    let bytes = values
        .iter()
        .flat_map(|x| f16::from_f32(x * factor).to_le_bytes())
        .collect::<Vec<u8>>();
    let halved = TensorView {
        format: Format::F16,
        shape: view.shape.clone(),
        bytes: bytes.into(),
        packed_as: None,
    };
    Ok(Some((halved, 2f32.powi(exponent))))
}

fn bad(name: &str, message: String) -> ModelError {
    ModelError::Pack {
        name: name.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(values: &[f32]) -> TensorView<'static> {
        TensorView {
            format: Format::F32,
            shape: vec![1, values.len()],
            bytes: values
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
                .into(),
            packed_as: None,
        }
    }

    #[test]
    fn halves_keep_eleven_bits_of_small_values() {
        let values = [3.1e-6f32, -1.7e-6, 0.9e-7, 0.0];
        let (half, factor) = halved("a", &view(&values)).unwrap().unwrap();
        for (x, half) in values.iter().zip(floats("a", &half).unwrap()) {
            assert!(
                (half * factor - x).abs() <= x.abs() * 4.9e-4,
                "{x} became {}",
                half * factor
            );
        }
    }

    #[test]
    fn what_is_not_finite_is_not_halved() {
        assert!(halved("a", &view(&[1.0, f32::NAN])).unwrap().is_none());
        assert!(halved("a", &view(&[1.0, f32::INFINITY])).unwrap().is_none());
        let (zeros, factor) = halved("a", &view(&[0.0, 0.0])).unwrap().unwrap();
        assert_eq!(
            (floats("a", &zeros).unwrap(), factor),
            (vec![0.0, 0.0], 1.0)
        );
    }
}
