//! Linear layers, several of which may share one input.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use matou_kernels::{Format, PackedMatrix, matmul};

use crate::compute::{Compute, Cpu, read, write};
use crate::error::Result;
use crate::loader::Loader;

/// `y = x Wᵀ + b`, where `W` may be several matrices on top of each other: the queries', keys' and
/// values' projections, or gate and up. Their outputs come side by side, `[tokens, Σ rows]`.
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
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
        Ok(Self { weight, bias })
    }

    /// A layer of one matrix that is packed already: a head tied to the embedding.
    pub(crate) fn from_packed(cpu: Cpu, matrix: Arc<PackedMatrix>) -> Self {
        Self {
            weight: Weight::Packed {
                cpu,
                matrices: vec![matrix],
            },
            bias: None,
        }
    }

    /// The same for a dense tensor `[rows, columns]`.
    pub(crate) fn from_dense(matrix: &Tensor) -> Result<Self> {
        Ok(Self {
            weight: Weight::Dense(matrix.t()?),
            bias: None,
        })
    }

    /// `[tokens, columns]` to `[tokens, Σ rows]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
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
        let y = cpu.produce((x.dim(0)?, columns), |out| {
            read(x, |x| matmul(&cpu.context, &matrices, x, out))
        })?;
        if let Some(bias) = &self.bias {
            write(&y, |y| {
                read(bias, |bias| {
                    for row in y.chunks_exact_mut(bias.len()) {
                        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                    }
                })
            })??;
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

/// candle's name of a quantised format, if it has that format.
fn candle_type(format: Format) -> Option<GgmlDType> {
    Some(match format {
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q2K => GgmlDType::Q2K,
        Format::Q3K => GgmlDType::Q3K,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q5K => GgmlDType::Q5K,
        Format::Q6K => GgmlDType::Q6K,
        Format::F32 | Format::F16 | Format::Bf16 | Format::Iq4Nl | Format::Iq4Xs => return None,
    })
}
