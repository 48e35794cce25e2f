//! The reference: candle's operations on the CPU, with f32 activations. Slow, and written for nothing
//! but being right; the other side of comparisons.

mod adapters;
mod attention;

use std::convert::Infallible;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Tensor};
use matou_kernels::attention::AttentionParams;

use self::adapters::ReferenceMath;
use self::attention::TensorCache;
use super::types::{Activation, CacheShape, HeadLayout};
use super::{Backend, Experts};
use crate::adapter::{Adapted, AdapterMath, TargetWeight};
use crate::cost::WeightCost;
use crate::error::{ModelError, Result};
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch};
use crate::language_model::KvCacheDtype;
use crate::loader::Loader;
use crate::quantize::candle_type;

/// candle's operations.
#[derive(Clone)]
pub(crate) struct Reference;

/// Matrices that share an input.
#[derive(Clone)]
pub(crate) enum Weight {
    /// All in one, `[Σ rows, columns]`.
    Dense(Tensor),
    /// candle's quantised products.
    Quantized(Vec<QMatMul>),
}

/// Rotations, computed anew for the positions of each step.
pub(crate) struct Rope {
    /// `[1, rotary_dim / 2]`
    inv_freq: Tensor,
    magnitude: f64,
    /// `[tokens, rotary_dim / 2]` cosines and sines of the step.
    cos_sin: Option<(Tensor, Tensor)>,
}

impl Backend for Reference {
    type Tensor = Tensor;
    type Matrix = Arc<Weight>;
    type Stack = Infallible;
    type Vector = Tensor;
    type Rope = Rope;
    type Cache = TensorCache;

    fn cost(_weight: &Arc<Weight>) -> Option<WeightCost> {
        None
    }

    fn load_matrix(
        &self,
        loader: &Loader<'_>,
        names: &[(String, usize)],
        columns: usize,
    ) -> Result<Arc<Weight>> {
        let views = names
            .iter()
            .map(|(name, rows)| Ok((name, loader.matrix_view(name, *rows, columns)?)))
            .collect::<Result<Vec<_>>>()?;
        let types: Option<Vec<GgmlDType>> = views
            .iter()
            .map(|(_, view)| candle_type(view.format))
            .collect();
        let Some(types) = types else {
            let matrices = views
                .iter()
                .map(|(name, view)| loader.dense(name, view))
                .collect::<Result<Vec<_>>>()?;
            return Ok(Arc::new(Weight::Dense(Tensor::cat(&matrices, 0)?)));
        };
        let mut products = Vec::with_capacity(views.len());
        for ((_, view), ggml_type) in views.iter().zip(types) {
            // An owned copy, since candle wants blocks aligned and a file may not have them so.
            let bytes = view.bytes.to_vec().into();
            let storage = QStorage::from_data(bytes, &Device::Cpu, ggml_type)?;
            let tensor = QTensor::new(storage, view.shape.as_slice())?;
            products.push(QMatMul::from_qtensor(tensor)?);
            loader.count(view, view.bytes.len());
        }
        Ok(Arc::new(Weight::Quantized(products)))
    }

    /// Dense, whatever it is stored in.
    fn load_table(
        &self,
        loader: &Loader<'_>,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Arc<Weight>> {
        let view = loader.matrix_view(name, rows, columns)?;
        Ok(Arc::new(Weight::Dense(loader.dense(name, &view)?)))
    }

    fn stack_cost(stack: &Infallible) -> WeightCost {
        match *stack {}
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        let len = values.len();
        Ok(Tensor::from_vec(values, len, &Device::Cpu)?)
    }

    fn rope(&self, inv_freq: Vec<f32>, magnitude: f64) -> Result<Rope> {
        let len = inv_freq.len();
        Ok(Rope {
            inv_freq: Tensor::from_vec(inv_freq, (1, len), &Device::Cpu)?,
            magnitude,
            cos_sin: None,
        })
    }

    fn cache(&self, shape: CacheShape, dtype: KvCacheDtype) -> Result<TensorCache> {
        let dtype = tensor_type(dtype).ok_or_else(|| {
            ModelError::KvCache("the reference has none in 8 bits; use f16".to_owned())
        })?;
        TensorCache::new(shape, dtype).map_err(|error| ModelError::KvCache(error.to_string()))
    }

    fn block_bytes(&self, kv_heads: usize, head_dim: usize, dtype: KvCacheDtype) -> usize {
        let bytes = tensor_type(dtype).map_or(1, |dtype| dtype.size_in_bytes());
        2 * BLOCK_SIZE * kv_heads * head_dim * bytes
    }

    fn adapter_math(&self) -> Option<Arc<dyn AdapterMath>> {
        Some(Arc::new(ReferenceMath))
    }

    fn target_weight(_weight: &Arc<Weight>, _index: usize) -> TargetWeight {
        TargetWeight::Elsewhere
    }

    fn shape(x: &Tensor) -> (usize, usize) {
        x.dims2().unwrap_or_default()
    }

    fn begin_step(&self, cache: &mut TensorCache, batch: &ForwardBatch) -> Result<()> {
        cache.begin_step(batch)
    }

    fn begin_rope(&self, rope: &mut Rope, positions: &[u32]) -> Result<()> {
        let angles = column(positions.iter().map(|&position| position as f32))?
            .broadcast_mul(&rope.inv_freq)?;
        let cos = (angles.cos()? * rope.magnitude)?;
        rope.cos_sin = Some((cos, (angles.sin()? * rope.magnitude)?));
        Ok(())
    }

    fn embed(&self, table: &Arc<Weight>, ids: &[u32]) -> Result<Tensor> {
        match table.as_ref() {
            Weight::Dense(table) => Ok(table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?),
            Weight::Quantized(_) => Err(ModelError::Forward("the embedding is dense".to_owned())),
        }
    }

    fn linear(&self, weight: &Arc<Weight>, bias: Option<&Tensor>, x: &Tensor) -> Result<Tensor> {
        let y = match weight.as_ref() {
            Weight::Dense(weight) => x.matmul(&weight.t()?)?,
            Weight::Quantized(matrices) => {
                let outputs: Vec<Tensor> = matrices
                    .iter()
                    .map(|matrix| matrix.forward(x))
                    .collect::<candle_core::Result<_>>()?;
                Tensor::cat(&outputs, 1)?
            }
        };
        match bias {
            Some(bias) => Ok(y.broadcast_add(bias)?),
            None => Ok(y),
        }
    }

    fn linear_fine(&self, weight: &Arc<Weight>, x: &Tensor) -> Result<Tensor> {
        self.linear(weight, None, x)
    }

    fn adapt(&self, adapted: &[Adapted<'_>], x: &Tensor, mut y: Tensor) -> Result<Tensor> {
        for (adapter, rows) in adapted {
            y = adapters::apply(adapter, x, rows, &y)?;
        }
        Ok(y)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let scaled = x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?;
        Ok(scaled.broadcast_mul(weight)?)
    }

    fn add_rms_norm(
        &self,
        residual: &mut Tensor,
        delta: Tensor,
        weight: &Tensor,
        eps: f32,
    ) -> Result<Tensor> {
        *residual = (&*residual + delta)?;
        self.rms_norm(residual, weight, eps)
    }

    fn norm_heads(
        &self,
        fused: &mut Tensor,
        (first, heads): (usize, usize),
        weight: &Tensor,
        eps: f32,
    ) -> Result<()> {
        let len = weight.dim(0)?;
        let (tokens, width) = fused.dims2()?;
        let part = fused
            .narrow(1, first, heads * len)?
            .reshape((tokens * heads, len))?;
        let normed = self.rms_norm(&part, weight, eps)?;
        let end = first + heads * len;
        let parts = [
            fused.narrow(1, 0, first)?,
            normed.reshape((tokens, heads * len))?,
            fused.narrow(1, end, width - end)?,
        ];
        *fused = Tensor::cat(&parts, 1)?;
        Ok(())
    }

    fn rotate(
        &self,
        rope: &Rope,
        fused: &mut Tensor,
        layout: HeadLayout,
        _positions: &[u32],
    ) -> Result<()> {
        let Some((cos, sin)) = &rope.cos_sin else {
            let message = "the step's rotations are not prepared".to_owned();
            return Err(ModelError::Forward(message));
        };
        let (tokens, width) = fused.dims2()?;
        let (heads, head_dim) = (layout.queries + layout.keys, layout.head_dim);
        let half = cos.dim(1)?;
        let rotating = fused
            .narrow(1, 0, heads * head_dim)?
            .reshape((tokens, heads, head_dim))?;
        let (a, b) = (
            rotating.narrow(2, 0, half)?,
            rotating.narrow(2, half, half)?,
        );
        let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
        let rotated = Tensor::cat(
            &[
                (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
                (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?,
                rotating.narrow(2, 2 * half, head_dim - 2 * half)?,
            ],
            D::Minus1,
        )?
        .reshape((tokens, heads * head_dim))?;
        let rest = fused.narrow(1, heads * head_dim, width - heads * head_dim)?;
        *fused = Tensor::cat(&[rotated, rest], 1)?;
        Ok(())
    }

    fn scale_rows(&self, x: &mut Tensor, columns: usize, factors: &[f32]) -> Result<()> {
        let (_, width) = x.dims2()?;
        let scaled = x
            .narrow(1, 0, columns)?
            .broadcast_mul(&column(factors.iter().copied())?)?;
        let rest = x.narrow(1, columns, width - columns)?;
        *x = Tensor::cat(&[scaled, rest], 1)?;
        Ok(())
    }

    fn attend(
        &self,
        cache: &mut TensorCache,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        batch: &ForwardBatch,
    ) -> Result<Tensor> {
        cache.attend(layer, params, qkv, batch)
    }

    fn gate(&self, gate_up: &Tensor, size: usize, activation: Activation) -> Result<Tensor> {
        let gate = gate_up.narrow(1, 0, size)?;
        let up = gate_up.narrow(1, size, size)?;
        let gate = match activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        Ok((gate * up)?)
    }

    fn experts(&self, stacks: &Experts<Self>, _logits: &Tensor, _x: &Tensor) -> Result<Tensor> {
        match stacks.down {}
    }

    fn scale(&self, x: &mut Tensor, factor: f32) -> Result<()> {
        *x = (&*x * f64::from(factor))?;
        Ok(())
    }

    fn select_rows(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        Ok(x.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?)
    }

    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(Tensor::zeros((rows, columns), DType::F32, &Device::Cpu)?)
    }

    fn add_weighted_rows(
        &self,
        y: &mut Tensor,
        x: &Tensor,
        rows: &[u32],
        weights: &[f32],
    ) -> Result<()> {
        let weighted = x.broadcast_mul(&column(weights.iter().copied())?)?;
        *y = y.index_add(&Tensor::new(rows, &Device::Cpu)?, &weighted, 0)?;
        Ok(())
    }

    fn read(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn read_logits(&self, x: Tensor, factor: f32, cap: Option<f32>) -> Result<Vec<f32>> {
        let mut values = self.read(&x)?;
        let cap = |x: f32| cap.map_or(x, |cap| cap * (x / cap).tanh());
        values.iter_mut().for_each(|x| *x = cap(*x * factor));
        Ok(values)
    }
}

/// The type of a cache in candle's tensors, which know no scaled integers.
fn tensor_type(dtype: KvCacheDtype) -> Option<DType> {
    match dtype {
        KvCacheDtype::F32 => Some(DType::F32),
        KvCacheDtype::F16 => Some(DType::F16),
        KvCacheDtype::Q8 => None,
    }
}

fn column(values: impl Iterator<Item = f32>) -> Result<Tensor> {
    let values: Vec<f32> = values.collect();
    let rows = values.len();
    Ok(Tensor::from_vec(values, (rows, 1), &Device::Cpu)?)
}
