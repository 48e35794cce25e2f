//! Grouped-query attention over the paged cache.

use matou_kernels::attention::AttentionParams;

use super::{Linear, RmsNorm, Rope};
use crate::adapter::AdapterRows;
use crate::backend::{Backend, HeadLayout};
use crate::error::Result;
use crate::forward_batch::ForwardBatch;

/// What all layers of a step share.
pub(crate) struct Step<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) batch: &'a ForwardBatch,
    pub(crate) adapters: &'a AdapterRows,
    pub(crate) ropes: &'a [Rope<B>],
    pub(crate) cache: &'a mut B::Cache,
}

/// The attention part of one layer.
pub(crate) struct Attention<B: Backend> {
    /// Number of the layer: which part of the cache it writes and reads.
    pub(crate) layer: usize,
    /// Queries, keys and values side by side.
    pub(crate) qkv: Linear<B>,
    pub(crate) output: Linear<B>,
    /// Norms of each head of the queries and of the keys, in families that have them.
    pub(crate) head_norms: Option<(RmsNorm<B>, RmsNorm<B>)>,
    /// Which of the step's ropes; `None` if positions are not encoded.
    pub(crate) rope: Option<usize>,
    pub(crate) params: AttentionParams,
}

impl<B: Backend> Attention<B> {
    /// Writes the cache and attends: `[tokens, hidden]` to `[tokens, heads · head_dim]`.
    pub(crate) fn attend(&self, x: B::Tensor, step: &mut Step<'_, B>) -> Result<B::Tensor> {
        let AttentionParams {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.params;
        let mut qkv = self.qkv.forward(step.backend, &x, step.adapters)?;
        drop(x);
        if let Some((query_norm, key_norm)) = &self.head_norms {
            query_norm.forward_heads(step.backend, &mut qkv, 0, heads)?;
            key_norm.forward_heads(step.backend, &mut qkv, heads * head_dim, kv_heads)?;
        }
        if let Some(rope) = self.rope {
            let layout = HeadLayout {
                queries: heads,
                keys: kv_heads,
                head_dim,
            };
            step.ropes[rope].forward(step.backend, &mut qkv, layout, &step.batch.positions)?;
        }
        step.backend
            .attend(step.cache, self.layer, &self.params, &qkv, step.batch)
    }

    /// Projects attended values: `[tokens, heads · head_dim]` to `[tokens, hidden]`.
    pub(crate) fn project(
        &self,
        backend: &B,
        attended: &B::Tensor,
        adapters: &AdapterRows,
    ) -> Result<B::Tensor> {
        self.output.forward(backend, attended, adapters)
    }
}
