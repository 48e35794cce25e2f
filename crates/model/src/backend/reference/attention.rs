//! Attention by candle's operations.
//!
//! Each layer's cache is a pair of tensors `[slots, kv_heads · head_dim]`. New rows are scattered
//! to their slots; then, request by request, the context's rows are gathered and attended over
//! with a plain masked softmax. The index tensors of a step serve all of its layers.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use matou_kernels::attention::AttentionParams;

use crate::backend::CacheShape;
use crate::error::Result;
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch};

/// Keys and values of all layers.
pub(crate) struct TensorCache {
    /// Keys and values of each layer.
    layers: Vec<(Tensor, Tensor)>,
    step: StepIndices,
}

/// What a step's layers share.
#[derive(Default)]
struct StepIndices {
    /// `[tokens, kv_width]`, each row full of its slot's number, as candle's scatter wants it.
    slots: Option<Tensor>,
    /// For each request, the slots of its context in order.
    contexts: Vec<Tensor>,
    /// Additive masks by request and window.
    masks: HashMap<(usize, Option<usize>), Tensor>,
}

impl TensorCache {
    pub(super) fn new(shape: CacheShape, dtype: DType) -> Result<Self> {
        let rows = shape.num_blocks * BLOCK_SIZE;
        let zeros = || Tensor::zeros((rows, shape.kv_heads * shape.head_dim), dtype, &Device::Cpu);
        let layers = (0..shape.layers)
            .map(|_| Ok((zeros()?, zeros()?)))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self {
            layers,
            step: StepIndices::default(),
        })
    }

    /// What is added to the scores of a request's queries: `-∞` where they must not look.
    fn mask(
        &mut self,
        request: usize,
        window: Option<usize>,
        batch: &ForwardBatch,
    ) -> Result<Tensor> {
        if let Some(mask) = self.step.masks.get(&(request, window)) {
            return Ok(mask.clone());
        }
        let (_, len) = run_of(batch, request);
        let context = batch.seq_lens[request] as usize;
        let mut values = Vec::with_capacity(len * context);
        for position in context - len..context {
            let visible =
                |key| key <= position && window.is_none_or(|window| key + window > position);
            values
                .extend((0..context).map(|key| if visible(key) { 0.0 } else { f32::NEG_INFINITY }));
        }
        let mask = Tensor::from_vec(values, (1, len, context), &Device::Cpu)?;
        self.step.masks.insert((request, window), mask.clone());
        Ok(mask)
    }

    /// Makes ready for a step.
    pub(super) fn begin_step(&mut self, batch: &ForwardBatch) -> Result<()> {
        let width = match self.layers.first() {
            Some((keys, _)) => keys.dim(1)?,
            None => 0,
        };
        let tokens = batch.num_tokens();
        let slots = Tensor::new(batch.slot_mapping.as_slice(), &Device::Cpu)?
            .reshape((tokens, 1))?
            .broadcast_as((tokens, width))?
            .contiguous()?;
        let contexts = (0..batch.num_requests())
            .map(|request| {
                let table = &batch.block_tables[batch.block_table_start[request] as usize..];
                let slots: Vec<u32> = (0..batch.seq_lens[request] as usize)
                    .map(|position| {
                        table[position / BLOCK_SIZE] * BLOCK_SIZE as u32
                            + (position % BLOCK_SIZE) as u32
                    })
                    .collect();
                Tensor::new(slots, &Device::Cpu)
            })
            .collect::<candle_core::Result<_>>()?;
        self.step = StepIndices {
            slots: Some(slots),
            contexts,
            masks: HashMap::new(),
        };
        Ok(())
    }

    /// See [`Backend::attend`](crate::backend::Backend::attend).
    pub(super) fn attend(
        &mut self,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        batch: &ForwardBatch,
    ) -> Result<Tensor> {
        let (keys, values) = self.layers[layer].clone();
        let query_width = params.heads * params.head_dim;
        let kv_width = params.kv_heads * params.head_dim;
        let part = |first, width| {
            qkv.narrow(1, first, width)?
                .to_dtype(keys.dtype())?
                .contiguous()
        };
        if let Some(slots) = &self.step.slots {
            keys.scatter_set(slots, &part(query_width, kv_width)?, 0)?;
            values.scatter_set(slots, &part(query_width + kv_width, kv_width)?, 0)?;
        }
        let mut outputs = Vec::with_capacity(batch.num_requests());
        for request in 0..batch.num_requests() {
            let (first, len) = run_of(batch, request);
            let queries = qkv.narrow(0, first, len)?.narrow(1, 0, query_width)?;
            let mask = self.mask(request, params.sliding_window, batch)?;
            let context = &self.step.contexts[request];
            let attended = attend_request(
                params,
                &queries,
                &keys.index_select(context, 0)?,
                &values.index_select(context, 0)?,
                &mask,
            )?;
            outputs.push(attended);
        }
        Ok(Tensor::cat(&outputs, 0)?.to_dtype(qkv.dtype())?)
    }
}

/// First row and number of rows of a request's run.
fn run_of(batch: &ForwardBatch, request: usize) -> (usize, usize) {
    let first = batch.query_start_loc[request] as usize;
    (first, batch.query_start_loc[request + 1] as usize - first)
}

/// Attention of one request's `[len, heads · head_dim]` queries over its `[context, kv_heads ·
/// head_dim]` keys and values, in f32. The queries of a group share their keys, so they are rows of
/// the same product: `[kv_heads, group · len, head_dim]`.
fn attend_request(
    params: &AttentionParams,
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: &Tensor,
) -> Result<Tensor> {
    let AttentionParams {
        heads,
        kv_heads,
        head_dim,
        ..
    } = *params;
    let (len, context) = (queries.dim(0)?, keys.dim(0)?);
    let group = heads / kv_heads;
    let by_head = |x: &Tensor, rows, heads| {
        x.to_dtype(DType::F32)?
            .reshape((rows, heads, head_dim))?
            .transpose(0, 1)?
            .contiguous()
    };
    let queries = by_head(queries, len, heads)?.reshape((kv_heads, group * len, head_dim))?;
    let keys = by_head(keys, context, kv_heads)?;
    let values = by_head(values, context, kv_heads)?;
    let mut scores = (queries.matmul(&keys.transpose(1, 2)?)? * f64::from(params.scale))?;
    if let Some(cap) = params.softcap {
        scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
    }
    let scores = scores.reshape((heads, len, context))?.broadcast_add(mask)?;
    let weights = scores
        .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
        .exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let attended = weights
        .reshape((kv_heads, group * len, context))?
        .matmul(&values)?;
    Ok(attended
        .reshape((heads, len, head_dim))?
        .transpose(0, 1)?
        .reshape((len, heads * head_dim))?)
}
