//! The decoder that every family is an instance of.
//!
//! ```text
//!                   ┌─ each layer ────────────────────────────────────────────┐
//! ids ─ embedding ──┼─┬────────────────────── + ─┬───────────────────────── + ┼─ norm ─ head ─ logits
//!                   │ └─ norm ── attention ───┘  └─ norm ── feed-forward ───┘ │
//!                   └─────────────────────────────────────────────────────────┘
//! ```
//!
//! A layer hands on its residual stream and what is still to be added to it, so that the addition
//! and the next norm are one operation.

mod build;

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use matou_kernels::activation::{scale, softcap};
use matou_kernels::attention::{KvDtype, KvPool};
use matou_kernels::{Isa, ThreadPool};

use crate::adapter::{AdapterRows, AdapterTargets};
use crate::attention::{AttentionBackend, CacheShape, CpuBackend, TensorBackend};
use crate::compute::{Compute, into_vec, read, write};
use crate::cost::{Roofs, TokenCost};
use crate::error::{ModelError, Result};
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch, Logits};
use crate::language_model::{KvCacheDtype, LanguageModel, ModelInfo};
use crate::layers::{Attention, Embedding, FeedForward, Linear, RmsNorm, Rope, Step};

/// A decoder with its weights, and its cache once that is allocated.
pub(crate) struct Decoder {
    info: ModelInfo,
    compute: Compute,
    embedding: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    head: Linear,
    /// One for each set of parameters that layers have.
    ropes: Vec<Rope>,
    cache: CacheShape,
    backend: Option<Box<dyn AttentionBackend>>,
    targets: Arc<AdapterTargets>,
    embedding_scale: f32,
    logit_scale: f32,
    logit_softcap: Option<f32>,
}

struct DecoderLayer {
    input_norm: RmsNorm,
    attention: Attention,
    attention_output_norm: Option<RmsNorm>,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
    feed_forward_output_norm: Option<RmsNorm>,
    compute: Compute,
    residual_scale: f32,
}

impl Decoder {
    /// Changes what the format of the weights is called.
    pub(crate) fn set_quantization(&mut self, name: String) {
        self.info.quantization = name;
    }

    /// Norm and head, for `rows` of `batch`.
    fn output(
        &self,
        residual: Tensor,
        delta: Tensor,
        batch: &ForwardBatch,
        (rows, adapters): (&[u32], &AdapterRows),
    ) -> Result<Logits> {
        let (_, hidden) = self.norm.add_forward(residual, delta)?;
        if batch.hidden_indices.is_empty() {
            return self.logits(&hidden, adapters);
        }
        let states = self.states(&hidden, &places(rows, &batch.hidden_indices))?;
        if batch.logits_indices.is_empty() {
            let none = Logits::new(Vec::new(), self.info.vocab_size);
            return Ok(none.with_hidden_states(states));
        }
        let with_logits = places(rows, &batch.logits_indices);
        let hidden = select_rows(&self.compute, hidden, &with_logits)?;
        let logits = self.logits(&hidden, &adapters.select(&with_logits))?;
        Ok(logits.with_hidden_states(states))
    }

    /// Some rows of the final hidden states.
    fn states(&self, hidden: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
        let columns = hidden.dim(1)?;
        let pick = |all: &[f32]| -> Vec<f32> {
            let row = |&row: &u32| &all[row as usize * columns..][..columns];
            rows.iter().flat_map(row).copied().collect()
        };
        match &self.compute {
            Compute::Kernels(_) => read(hidden, pick),
            Compute::Candle { .. } => {
                let all: Vec<f32> = hidden.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                Ok(pick(&all))
            }
        }
    }

    /// The head.
    fn logits(&self, hidden: &Tensor, adapters: &AdapterRows) -> Result<Logits> {
        let logits = self.head.forward(hidden, adapters)?;
        let (factor, cap) = (self.logit_scale, self.logit_softcap);
        let mut values = match &self.compute {
            Compute::Kernels(_) => into_vec(&logits)?,
            Compute::Candle { .. } => logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?,
        };
        match &self.compute {
            Compute::Kernels(cpu) => {
                if factor != 1.0 {
                    scale(&cpu.context, &mut values, factor);
                }
                if let Some(cap) = cap {
                    softcap(&cpu.context, &mut values, cap);
                }
            }
            Compute::Candle { .. } => {
                let cap = |x: f32| cap.map_or(x, |cap| cap * (x / cap).tanh());
                values.iter_mut().for_each(|x| *x = cap(*x * factor));
            }
        }
        Ok(Logits::new(values, self.info.vocab_size))
    }
}

impl LanguageModel for Decoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn isa(&self) -> Isa {
        self.compute.isa()
    }

    fn thread_pool(&self) -> Option<&ThreadPool> {
        match &self.compute {
            Compute::Kernels(cpu) => Some(cpu.context.pool()),
            Compute::Candle { .. } => None,
        }
    }

    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        let CacheShape {
            layers,
            kv_heads,
            head_dim,
            ..
        } = self.cache;
        let layer_bytes = match &self.compute {
            Compute::Kernels(_) => KvPool::bytes(1, kv_heads, head_dim, kernel_type(dtype)),
            Compute::Candle { .. } => {
                let bytes = tensor_type(dtype).map_or(1, |dtype| dtype.size_in_bytes());
                2 * BLOCK_SIZE * kv_heads * head_dim * bytes
            }
        };
        layers * layer_bytes
    }

    fn token_cost(&self) -> Option<TokenCost> {
        let layer = |layer: &DecoderLayer| {
            let attention = layer.attention.qkv.cost()? + layer.attention.output.cost()?;
            Some(attention + layer.feed_forward.cost()?)
        };
        Some(TokenCost {
            layers: self.layers.iter().map(layer).sum::<Option<_>>()?,
            head: self.head.cost()?,
        })
    }

    fn adapter_targets(&self) -> Option<Arc<AdapterTargets>> {
        Some(Arc::clone(&self.targets))
    }

    fn measure_roofs(&self) -> Option<Roofs> {
        Roofs::measure(&self.compute)
    }

    fn allocate_kv_cache(&mut self, num_blocks: usize, dtype: KvCacheDtype) -> Result<()> {
        // The old cache goes first: two would not always fit.
        self.backend = None;
        let shape = CacheShape {
            num_blocks,
            ..self.cache
        };
        self.backend = Some(match &self.compute {
            Compute::Kernels(cpu) => {
                Box::new(CpuBackend::new(cpu.clone(), shape, kernel_type(dtype))?)
            }
            Compute::Candle { device, .. } => {
                let dtype = tensor_type(dtype).ok_or_else(|| {
                    ModelError::KvCache("in 8 bits it works on the CPU only; use f16".to_owned())
                })?;
                let backend = TensorBackend::new(device, shape, dtype)
                    .map_err(|error| ModelError::KvCache(error.to_string()))?;
                Box::new(backend)
            }
        });
        Ok(())
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits> {
        let Some(backend) = &mut self.backend else {
            return Err(ModelError::KvCache("there is none yet".to_owned()));
        };
        batch.validate(self.info.vocab_size, backend.num_blocks())?;
        let mut foreign = batch.adapters.iter().flatten();
        if foreign.any(|adapter| !self.targets.fit(adapter)) {
            let message = "an adapter was loaded for another model".to_owned();
            return Err(ModelError::InvalidBatch(message));
        }
        let mut adapters = AdapterRows::of(batch);
        backend.begin_step(batch)?;
        for rope in &mut self.ropes {
            rope.begin_step(&batch.positions)?;
        }
        let embeddings = self.embedding.forward(&batch.input_ids)?;
        let mut residual = scaled(&self.compute, embeddings, self.embedding_scale)?;
        let mut delta = None;
        let rows = wanted_rows(batch);
        for (layer, index) in self.layers.iter().zip(1..) {
            let mut step = Step {
                batch,
                adapters: &adapters,
                ropes: &self.ropes,
                backend: backend.as_mut(),
            };
            let (stream, mut attended) = layer.attend(residual, delta, &mut step)?;
            residual = stream;
            if index == self.layers.len() {
                // The cache is written; from here on only the rows that are asked for matter, and
                // most rows of a prompt are not.
                if rows.is_empty() {
                    return Ok(Logits::new(Vec::new(), self.info.vocab_size));
                }
                residual = select_rows(&self.compute, residual, &rows)?;
                attended = select_rows(&self.compute, attended, &rows)?;
                adapters = adapters.select(&rows);
            }
            let (stream, to_add) = layer.feed_forward(residual, attended, &adapters)?;
            residual = stream;
            delta = Some(to_add);
        }
        match delta {
            Some(delta) => self.output(residual, delta, batch, (&rows, &adapters)),
            None => Err(ModelError::Forward("the model has no layers".to_owned())),
        }
    }
}

impl DecoderLayer {
    /// The first half: adds `delta` to the residual stream, norms the sum and attends. Gives the
    /// stream and the attended values, not projected yet. Both tensors are used up.
    fn attend(
        &self,
        residual: Tensor,
        delta: Option<Tensor>,
        step: &mut Step<'_>,
    ) -> Result<(Tensor, Tensor)> {
        let (residual, x) = match delta {
            Some(delta) => self.input_norm.add_forward(residual, delta)?,
            None => {
                let x = self.input_norm.forward(&residual)?;
                (residual, x)
            }
        };
        Ok((residual, self.attention.attend(x, step)?))
    }

    /// The second half: projects the attended values, adds them to the stream, and computes what
    /// the feed-forward part adds to that. Both tensors are used up.
    fn feed_forward(
        &self,
        residual: Tensor,
        attended: Tensor,
        adapters: &AdapterRows,
    ) -> Result<(Tensor, Tensor)> {
        let x = self.attention.project(attended, adapters)?;
        let x = self.output(x, self.attention_output_norm.as_ref())?;
        let (residual, x) = self.feed_forward_norm.add_forward(residual, x)?;
        let x = self.feed_forward.forward(x, adapters)?;
        let x = self.output(x, self.feed_forward_output_norm.as_ref())?;
        Ok((residual, x))
    }

    fn output(&self, x: Tensor, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let x = match norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        scaled(&self.compute, x, self.residual_scale)
    }
}

pub(crate) fn kernel_type(dtype: KvCacheDtype) -> KvDtype {
    match dtype {
        KvCacheDtype::F32 => KvDtype::F32,
        KvCacheDtype::F16 => KvDtype::F16,
        KvCacheDtype::Q8 => KvDtype::Q8,
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

/// Multiplies by a factor, which is one in most models.
fn scaled(compute: &Compute, x: Tensor, factor: f32) -> Result<Tensor> {
    if factor == 1.0 {
        return Ok(x);
    }
    match compute {
        Compute::Kernels(cpu) => {
            write(&x, |x| scale(&cpu.context, x, factor))?;
            Ok(x)
        }
        Compute::Candle { .. } => Ok((x * f64::from(factor))?),
    }
}

/// The rows of which anything is wanted, ascending.
fn wanted_rows(batch: &ForwardBatch) -> Cow<'_, [u32]> {
    if batch.hidden_indices.is_empty() {
        return Cow::Borrowed(&batch.logits_indices);
    }
    let mut rows = [&batch.logits_indices[..], &batch.hidden_indices].concat();
    rows.sort_unstable();
    rows.dedup();
    Cow::Owned(rows)
}

/// Where each of `wanted` is in `rows`, which has them all; both ascend.
fn places(rows: &[u32], wanted: &[u32]) -> Vec<u32> {
    let place = |row: &u32| rows.partition_point(|other| other < row) as u32;
    wanted.iter().map(place).collect()
}

/// Some rows of `[tokens, features]`, which is used up.
fn select_rows(compute: &Compute, x: Tensor, rows: &[u32]) -> Result<Tensor> {
    if rows.len() == x.dim(0)? {
        return Ok(x);
    }
    let Compute::Kernels(cpu) = compute else {
        return Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?);
    };
    let selected = cpu.gather(&x, rows)?;
    cpu.recycle(x)?;
    Ok(selected)
}
