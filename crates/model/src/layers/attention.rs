//! Grouped-query attention over the paged cache.

use candle_core::Tensor;
use matou_kernels::attention::AttentionParams;

use super::rope::HeadLayout;
use super::{Linear, RmsNorm, Rope};
use crate::adapter::AdapterRows;
use crate::attention::AttentionBackend;
use crate::compute::Compute;
use crate::error::Result;
use crate::forward_batch::ForwardBatch;

/// What all layers of a step share.
pub(crate) struct Step<'a> {
    pub(crate) batch: &'a ForwardBatch,
    pub(crate) adapters: &'a AdapterRows,
    pub(crate) ropes: &'a [Rope],
    pub(crate) backend: &'a mut dyn AttentionBackend,
}

/// The attention part of one layer.
pub(crate) struct Attention {
    pub(crate) compute: Compute,
    /// Number of the layer: which part of the cache it writes and reads.
    pub(crate) layer: usize,
    /// Queries, keys and values side by side.
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    /// Norms of each head of the queries and of the keys, in families that have them.
    pub(crate) head_norms: Option<(RmsNorm, RmsNorm)>,
    /// Which of the step's ropes; `None` if positions are not encoded.
    pub(crate) rope: Option<usize>,
    pub(crate) params: AttentionParams,
}

impl Attention {
    /// Writes the cache and attends: `[tokens, hidden]` to `[tokens, heads · head_dim]`. The input
    /// is used up.
    pub(crate) fn attend(&self, x: Tensor, step: &mut Step<'_>) -> Result<Tensor> {
        let AttentionParams {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.params;
        let mut qkv = self.qkv.forward(&x, step.adapters)?;
        if let Some((query_norm, key_norm)) = &self.head_norms {
            qkv = query_norm.forward_heads(qkv, 0, heads)?;
            qkv = key_norm.forward_heads(qkv, heads * head_dim, kv_heads)?;
        }
        if let Some(rope) = self.rope {
            let layout = HeadLayout {
                queries: heads,
                keys: kv_heads,
                head_dim,
            };
            qkv = step.ropes[rope].forward(&self.compute, qkv, layout, &step.batch.positions)?;
        }
        let attended = step
            .backend
            .attend(self.layer, &self.params, &qkv, step.batch)?;
        if let Compute::Kernels(cpu) = &self.compute {
            cpu.recycle(x)?;
            cpu.recycle(qkv)?;
        }
        Ok(attended)
    }

    /// Projects attended values: `[tokens, heads · head_dim]` to `[tokens, hidden]`. The input is
    /// used up.
    pub(crate) fn project(&self, attended: Tensor, adapters: &AdapterRows) -> Result<Tensor> {
        let y = self.output.forward(&attended, adapters)?;
        if let Compute::Kernels(cpu) = &self.compute {
            cpu.recycle(attended)?;
        }
        Ok(y)
    }
}
