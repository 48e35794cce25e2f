//! Attention backends: who owns the paged KV cache, writes it by slot and attends over it.

mod cpu;
mod tensor;

use candle_core::Tensor;
use matou_kernels::attention::AttentionParams;

pub(crate) use self::cpu::CpuBackend;
pub(crate) use self::tensor::TensorBackend;
use crate::error::Result;
use crate::forward_batch::ForwardBatch;

/// The shape of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) num_blocks: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// A KV cache in blocks, and the attention over it.
pub(crate) trait AttentionBackend: Send {
    /// Makes ready for a step of this batch.
    fn begin_step(&mut self, batch: &ForwardBatch) -> Result<()>;

    /// Writes the keys and values of one layer by slot, then attends.
    ///
    /// `qkv` is `[tokens, (heads + 2 · kv_heads) · head_dim]`: queries, keys and values side by
    /// side, rotated already. The result is `[tokens, heads · head_dim]`. Token `j` of a request's
    /// run sees the positions up to its own, of which the last `sliding_window` if there is one.
    fn attend(
        &mut self,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        batch: &ForwardBatch,
    ) -> Result<Tensor>;

    /// Blocks in the cache.
    fn num_blocks(&self) -> usize;
}
