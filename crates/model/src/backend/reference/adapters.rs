//! What adapters change of the outputs of a linear layer, by candle's operations.

use candle_core::{Device, Tensor};

use crate::adapter::{
    AdapterMath, AdapterMatrix, LinearAdapter, LowRank, TargetWeight, adapter_floats,
};
use crate::error::Result;
use crate::weights::TensorView;

/// What adapters for candle are loaded with.
pub(super) struct ReferenceMath;

impl AdapterMath for ReferenceMath {
    fn matrix(&self, name: &str, view: &TensorView<'_>) -> Result<AdapterMatrix> {
        let values = adapter_floats(name, view)?;
        let tensor = Tensor::from_vec(values, view.shape.as_slice(), &Device::Cpu)?;
        Ok(AdapterMatrix::Dense(tensor.t()?.contiguous()?))
    }

    fn row_lengths(
        &self,
        _weight: &TargetWeight,
        _low_rank: (&[f32], &[f32]),
        _scale: f32,
    ) -> Option<Vec<f32>> {
        None
    }
}

/// The outputs `y` `[tokens, Σ rows]` of the base for `x` `[tokens, columns]`, as the adapter
/// changes them in `rows`, which ascend.
pub(super) fn apply(
    adapter: &LinearAdapter,
    x: &Tensor,
    rows: &[u32],
    y: &Tensor,
) -> Result<Tensor> {
    // One for the rows that stay as they are.
    let mut kept = vec![1f32; y.dim(0)?];
    rows.iter().for_each(|&row| kept[row as usize] = 0.0);
    let kept = Tensor::new(kept, y.device())?.unsqueeze(1)?;
    let rows = Tensor::new(rows, y.device())?;
    let x = x.index_select(&rows, 0)?;
    let width = y.dim(1)?;
    let mut own = y.index_select(&rows, 0)?;
    for part in &adapter.parts {
        let mut values = own.narrow(1, part.start, part.rows)?;

        if let Some(AdapterMatrix::Dense(weight)) = &part.replaced {
            values = x.matmul(weight)?;
        }
        if let Some(LowRank {
            a: AdapterMatrix::Dense(a),
            b: AdapterMatrix::Dense(b),
            scale,
            ..
        }) = &part.low_rank
        {
            let added = (x.matmul(a)? * f64::from(*scale))?;
            values = (values + added.matmul(b)?)?;
        }
        if let Some(bias) = &part.bias {
            values = values.broadcast_add(&Tensor::new(bias.as_slice(), y.device())?)?;
        }
        let (end, mut columns) = (part.start + part.rows, Vec::new());
        if part.start > 0 {
            columns.push(own.narrow(1, 0, part.start)?);
        }
        columns.push(values);
        if end < width {
            columns.push(own.narrow(1, end, width - end)?);
        }
        own = Tensor::cat(&columns, 1)?;
    }
    // Added to zeros, so that nothing is rounded once more.
    Ok(y.broadcast_mul(&kept)?.index_add(&rows, &own, 0)?)
}
