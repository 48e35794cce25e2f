//! Linear layers, several of which may share one input.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use matou_kernels::activation::{add, add_bias};
use matou_kernels::rows::for_row_parts;
use matou_kernels::{Context, PackedMatrix, matmul};

use crate::adapter::{AdapterRows, TargetLinear, TargetPart, TargetWeight};
use crate::compute::{Compute, Cpu, read, write};
use crate::cost::WeightCost;
use crate::error::Result;
use crate::loader::Loader;
use crate::quantize::candle_type;

/// `y = x Wᵀ + b`, where `W` may be several matrices on top of each other: the queries', keys' and
/// values' projections, or gate and up. Their outputs come side by side, `[tokens, Σ rows]`.
pub(crate) struct Linear {
    compute: Compute,
    /// By which adapters find the layer.
    number: usize,
    weight: Weight,
    bias: Option<Tensor>,
    /// Whether quantised kernels get the input in two parts, see [`split_rows`].
    split_input: bool,
}

enum Weight {
    /// For the kernels, which read (and quantise) the input once for all of the matrices.
    Packed {
        cpu: Cpu,
        matrices: Vec<Arc<PackedMatrix>>,
    },
    /// For any device: all matrices in one, transposed.
    Dense(Tensor),
    /// For any device: candle's quantised products.
    Quantized(Vec<QMatMul>),
}

impl Linear {
    /// Loads `module.weight` of `rows` rows for each of `modules`, and `module.bias` if asked for.
    pub(crate) fn load(
        loader: &Loader<'_>,
        modules: &[(String, usize)],
        columns: usize,
        bias: bool,
    ) -> Result<Self> {
        let weight = match loader.compute() {
            Compute::Kernels(cpu) => {
                let pack = |(module, rows): &(String, usize)| {
                    loader.packed(&cpu.context, &format!("{module}.weight"), *rows, columns)
                };
                Weight::Packed {
                    cpu: cpu.clone(),
                    matrices: modules.iter().map(pack).collect::<Result<_>>()?,
                }
            }
            Compute::Candle { device, dtype } => {
                load_on_device(loader, modules, columns, device, *dtype)?
            }
        };
        let bias = if bias {
            let mut values = Vec::new();
            for (module, rows) in modules {
                values.extend(loader.vector(&format!("{module}.bias"), *rows)?);
            }
            Some(loader.compute().vector(values)?)
        } else {
            None
        };
        Ok(Self::new(loader, modules, columns, weight, bias))
    }

    fn new(
        loader: &Loader<'_>,
        modules: &[(String, usize)],
        columns: usize,
        weight: Weight,
        bias: Option<Tensor>,
    ) -> Self {
        let part = |(index, (module, rows)): (usize, &(String, usize))| TargetPart {
            module: module.clone(),
            rows: *rows,
            weight: match &weight {
                Weight::Packed { matrices, .. } => TargetWeight::Packed(matrices[index].clone()),
                Weight::Dense(_) | Weight::Quantized(_) => TargetWeight::OnDevice,
            },
        };
        let number = loader.add_linear(TargetLinear {
            columns,
            parts: modules.iter().enumerate().map(part).collect(),
            bias: bias.clone(),
        });
        Self {
            compute: loader.compute().clone(),
            number,
            weight,
            bias,
            split_input: false,
        }
    }

    /// The same layer, with the rounding of its input to 8 bits all but undone.
    ///
    /// For the head, whose rounding goes straight into the logits: on SmolLM2 in Q4_1 it makes four
    /// tenths of the divergence from f32 (0.0026 with, 0.0016 without, on a text of 1,024 tokens).
    /// The price is a second row for each row, where reading the weights is most of the work.
    pub(crate) fn with_split_input(mut self) -> Self {
        self.split_input = match &self.weight {
            Weight::Packed { matrices, .. } => matrices
                .iter()
                .any(|matrix| matrix.format().block_size() > 1),
            Weight::Dense(_) | Weight::Quantized(_) => false,
        };
        self
    }

    /// A layer of one matrix that is packed already: a head tied to the embedding.
    pub(crate) fn from_packed(
        loader: &Loader<'_>,
        module: &str,
        cpu: Cpu,
        matrix: Arc<PackedMatrix>,
    ) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.cols());
        let matrices = vec![matrix];
        let weight = Weight::Packed { cpu, matrices };
        Self::new(loader, &[(module.to_owned(), rows)], columns, weight, None)
    }

    /// The same for a dense tensor `[rows, columns]`.
    pub(crate) fn from_dense(loader: &Loader<'_>, module: &str, matrix: &Tensor) -> Result<Self> {
        let (rows, columns) = matrix.dims2()?;
        let weight = Weight::Dense(matrix.t()?);
        Ok(Self::new(
            loader,
            &[(module.to_owned(), rows)],
            columns,
            weight,
            None,
        ))
    }

    /// What a token costs, where the kernels compute it.
    pub(crate) fn cost(&self) -> Option<WeightCost> {
        let Weight::Packed { matrices, .. } = &self.weight else {
            return None;
        };
        let cost = |matrix: &Arc<PackedMatrix>| WeightCost {
            bytes: matrix.bytes() as u64,
            macs: (matrix.rows() * matrix.cols()) as u64,
        };
        Some(matrices.iter().map(cost).sum())
    }

    /// `[tokens, columns]` to `[tokens, Σ rows]`, where some rows have an adapter.
    pub(crate) fn forward(&self, x: &Tensor, adapters: &AdapterRows) -> Result<Tensor> {
        let y = self.forward_base(x)?;
        adapters.apply(self.number, &self.compute, x, y)
    }

    fn forward_base(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Packed { cpu, matrices } => self.forward_packed(cpu, matrices, x),
            Weight::Dense(weight) => self.with_bias(x.matmul(weight)?),
            Weight::Quantized(matrices) => {
                // candle's quantised products take and give f32.
                let input = x.to_dtype(DType::F32)?;
                let outputs: Vec<Tensor> = matrices
                    .iter()
                    .map(|matrix| matrix.forward(&input))
                    .collect::<candle_core::Result<_>>()?;
                self.with_bias(Tensor::cat(&outputs, 1)?.to_dtype(x.dtype())?)
            }
        }
    }

    fn with_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => Ok(y.broadcast_add(bias)?),
            None => Ok(y),
        }
    }

    fn forward_packed(
        &self,
        cpu: &Cpu,
        matrices: &[Arc<PackedMatrix>],
        x: &Tensor,
    ) -> Result<Tensor> {
        let columns = matrices.iter().map(|matrix| matrix.rows()).sum();
        let matrices: Vec<&PackedMatrix> = matrices.iter().map(Arc::as_ref).collect();
        let multiply = |x: &Tensor| {
            cpu.produce((x.dim(0)?, columns), |out| {
                read(x, |x| matmul(&cpu.context, &matrices, x, out))
            })
        };
        let y = if self.split_input {
            let (rows, width) = x.dims2()?;
            let parts = cpu.produce((2 * rows, width), |out| {
                read(x, |x| split_rows(&cpu.context, x, out))
            })?;
            let y = multiply(&parts)?;
            cpu.recycle(parts)?;
            write(&y, |y| {
                let (coarse, fine) = y.split_at_mut(rows * columns);
                add(&cpu.context, coarse, fine);
            })?;
            y.narrow(0, 0, rows)?
        } else {
            multiply(x)?
        };
        if let Some(bias) = &self.bias {
            write(&y, |y| read(bias, |bias| add_bias(&cpu.context, y, bias)))??;
        }
        Ok(y)
    }
}

fn load_on_device(
    loader: &Loader<'_>,
    modules: &[(String, usize)],
    columns: usize,
    device: &Device,
    dtype: DType,
) -> Result<Weight> {
    let views = modules
        .iter()
        .map(|(module, rows)| {
            let name = format!("{module}.weight");
            let view = loader.matrix_view(&name, *rows, columns)?;
            Ok((name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    let types: Option<Vec<GgmlDType>> = views
        .iter()
        .map(|(_, view)| candle_type(view.format))
        .collect();
    let Some(types) = types else {
        let matrices = views
            .iter()
            .map(|(name, view)| loader.dense(view, name, device, dtype))
            .collect::<Result<Vec<_>>>()?;
        return Ok(Weight::Dense(Tensor::cat(&matrices, 0)?.t()?));
    };
    let mut products = Vec::with_capacity(views.len());
    for ((_, view), ggml_type) in views.iter().zip(types) {
        // An owned copy, since candle wants blocks aligned and a file may not have them so.
        let storage = QStorage::from_data(view.bytes.to_vec().into(), device, ggml_type)?;
        products.push(QMatMul::from_qtensor(QTensor::new(
            storage,
            view.shape.as_slice(),
        )?)?);
        loader.count(view, view.bytes.len());
    }
    Ok(Weight::Quantized(products))
}

/// Splits rows into two sets that add up to them: first what a signed byte for each element and a
/// scale for each 32 can hold (exactly, so that the kernels' rounding finds nothing left to do),
/// then the rests, of which rounding spoils a two-hundredth as much.
fn split_rows(context: &Context, x: &[f32], out: &mut [f32]) {
    /// Columns that share a scale in the kernels.
    const GROUP: usize = 32;
    let (coarse, fine) = out.split_at_mut(x.len());
    let groups = x.len().div_ceil(GROUP);
    let (coarse, fine) = ((coarse, GROUP), (fine, GROUP));
    for_row_parts(context, groups, coarse, fine, |groups, coarse, fine| {
        let groups = x[groups.start * GROUP..]
            .chunks(GROUP)
            .zip(coarse.chunks_mut(GROUP))
            .zip(fine.chunks_mut(GROUP));
        for ((x, coarse), fine) in groups {
            split_group(x, coarse, fine);
        }
    });
}

/// The columns of [`split_rows`] that share a scale.
fn split_group(x: &[f32], coarse: &mut [f32], fine: &mut [f32]) {
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    for ((x, coarse), fine) in x.iter().zip(coarse).zip(fine) {
        let code = (x * inverse).round_ties_even();
        // Zero, and what is too small to have an inverse, is left to the rest.
        *coarse = if code.is_finite() { code * scale } else { 0.0 };
        *fine = x - *coarse;
    }
}

#[cfg(test)]
mod tests {
    use matou_kernels::Isa;

    use super::*;

    #[test]
    fn split_rows_add_up_and_their_first_part_is_made_of_codes() {
        let x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let mut out = vec![f32::NAN; 128];
        split_rows(&Context::new(Isa::Scalar, 1), &x, &mut out);
        let (coarse, fine) = out.split_at(64);
        for (x, (coarse, fine)) in x.chunks(32).zip(coarse.chunks(32).zip(fine.chunks(32))) {
            let scale = x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
            for (x, (coarse, fine)) in x.iter().zip(coarse.iter().zip(fine)) {
                let code = coarse / scale;
                assert!((code - code.round()).abs() < 1e-4, "{code} is no code");
                assert!(fine.abs() <= 0.501 * scale);
                assert_eq!(coarse + fine, *x);
            }
        }
    }

    #[test]
    fn splitting_zeros_gives_zeros() {
        let mut out = vec![f32::NAN; 64];
        split_rows(&Context::new(Isa::Scalar, 1), &[0.0; 32], &mut out);
        assert_eq!(out, [0.0; 64]);
    }

    #[test]
    fn rows_are_split_alike_on_any_number_of_threads() {
        let x: Vec<f32> = (0..100 * 576).map(|i| (i as f32 * 0.37).sin()).collect();
        let split = |threads| {
            let mut out = vec![f32::NAN; 2 * x.len()];
            split_rows(&Context::new(Isa::Scalar, threads), &x, &mut out);
            out
        };
        assert_eq!(split(2), split(1));
        assert_eq!(split(3), split(1));
    }
}
