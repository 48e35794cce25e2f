//! The backend of the CPU: matou's kernels over one pool a layer.

use candle_core::Tensor;
use matou_kernels::attention::{
    AttentionParams, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};

use super::{AttentionBackend, CacheShape};
use crate::compute::{Cpu, read};
use crate::error::{ModelError, Result};
use crate::forward_batch::ForwardBatch;

/// One pool of blocks for each layer.
pub(crate) struct CpuBackend {
    cpu: Cpu,
    num_blocks: usize,
    pools: Vec<KvPool>,
}

impl CpuBackend {
    pub(crate) fn new(cpu: Cpu, shape: CacheShape, dtype: KvDtype) -> Result<Self> {
        let pools = (0..shape.layers)
            .map(|_| KvPool::new(shape.num_blocks, shape.kv_heads, shape.head_dim, dtype))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| ModelError::KvCache(error.to_string()))?;
        Ok(Self {
            cpu,
            num_blocks: shape.num_blocks,
            pools,
        })
    }
}

impl AttentionBackend for CpuBackend {
    fn begin_step(&mut self, _batch: &ForwardBatch) -> Result<()> {
        Ok(())
    }

    fn attend(
        &mut self,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        batch: &ForwardBatch,
    ) -> Result<Tensor> {
        let (tokens, stride) = qkv.dims2()?;
        let keys = params.heads * params.head_dim;
        let values = keys + params.kv_heads * params.head_dim;
        let pool = &mut self.pools[layer];
        let paged = PagedBatch {
            query_start_loc: &batch.query_start_loc,
            seq_lens: &batch.seq_lens,
            block_tables: &batch.block_tables,
            block_table_start: &batch.block_table_start,
        };
        self.cpu.produce((tokens, keys), |out| {
            read(qkv, |qkv| {
                let part = |first: usize| Rows {
                    data: &qkv[first..],
                    stride,
                };
                let context = &self.cpu.context;
                pool.write(context, &batch.slot_mapping, part(keys), part(values));
                paged_attention(context, params, part(0), pool, &paged, out);
            })
        })
    }

    fn num_blocks(&self) -> usize {
        self.num_blocks
    }
}
