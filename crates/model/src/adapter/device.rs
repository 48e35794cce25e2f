//! The same on any device, by candle's operations.

use candle_core::{DType, Tensor};

use super::linear::{LinearAdapter, LowRank};
use super::matrix::Matrix;
use crate::error::Result;

impl LinearAdapter {
    /// The outputs `y` `[tokens, Σ rows]` of the base for `x` `[tokens, columns]`, as the adapter
    /// changes them in `rows`, which ascend.
    pub(super) fn apply_on_device(&self, x: &Tensor, rows: &[u32], y: &Tensor) -> Result<Tensor> {
        let dtype = y.dtype();
        // One for the rows that stay as they are.
        let mut kept = vec![1f32; y.dim(0)?];
        rows.iter().for_each(|&row| kept[row as usize] = 0.0);
        let kept = Tensor::new(kept, y.device())?
            .to_dtype(dtype)?
            .unsqueeze(1)?;
        let rows = Tensor::new(rows, y.device())?;
        let x = x.index_select(&rows, 0)?;
        let width = y.dim(1)?;
        let mut own = y.index_select(&rows, 0)?;
        for part in &self.parts {
            let mut values = own.narrow(1, part.start, part.rows)?;
            let vector = |values: &[f32]| -> Result<Tensor> {
                Ok(Tensor::new(values, y.device())?.to_dtype(dtype)?)
            };
            if let Some(Matrix::Dense(weight)) = &part.replaced {
                values = x.matmul(weight)?;
            }
            if let Some(LowRank {
                a: Matrix::Dense(a),
                b: Matrix::Dense(b),
                scale,
                ..
            }) = &part.low_rank
            {
                let added = (x.matmul(a)?.to_dtype(DType::F32)? * f64::from(*scale))?;
                values = (values + added.to_dtype(dtype)?.matmul(b)?)?;
            }
            if let Some(bias) = &part.bias {
                values = values.broadcast_add(&vector(bias)?)?;
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
}
