//! GPUs: matou's compute shaders, with f32 activations in the device's memory.
//!
//! Operations are recorded, and done when something is read: a step of one token is a few submissions, and
//! only the logits that are sampled from come back. Sampling, and what else is computed from logits, is the
//! CPU's.

use std::path::Path;
use std::sync::Arc;

use matou_gpu::{AttentionStep, KvCache, Matrix, Stack, Stream, Tensor, Vector};
use matou_kernels::attention::AttentionParams;
use matou_kernels::rope::RopeTable;
use matou_kernels::{Context, Isa, PackedMatrix, ThreadPool};

use super::types::{Activation, CacheShape, HeadLayout, kernel_type};
use super::{Backend, Experts};
use crate::adapter::{Adapted, AdapterMath, TargetWeight};
use crate::cost::{Roofs, WeightCost};
use crate::error::{ModelError, Result};
use crate::forward_batch::ForwardBatch;
use crate::language_model::KvCacheDtype;
use crate::loader::Loader;

/// A device, and the commands that one model has for it.
#[derive(Clone)]
pub(crate) struct Gpu {
    stream: Stream,
    /// Packs weights as they load, and computes what is computed from logits.
    host: Context,
}

/// Keys and values on the device, and where those of the step are.
pub(crate) struct Cache {
    blocks: KvCache,
    step: Option<AttentionStep>,
}

/// Rotations: the angles are made on the host, since shaders have no exact sine of a large one.
pub(crate) struct Rope {
    table: RopeTable,
    /// `[tokens, rotary_dim / 2]` cosines and sines of the step.
    cos_sin: Option<(Tensor, Tensor)>,
}

impl Gpu {
    /// Opens device `index`; `host` are the CPU's threads. Compiled kernels are kept in `folder`, if
    /// there is one.
    pub(crate) fn open(index: usize, host: Context, folder: Option<&Path>) -> Result<Self> {
        let device = crate::device::open(index)?;
        if let Some(folder) = folder {
            device.keep_pipelines(folder);
        }
        device.check_against(&host)?;
        Ok(Self {
            stream: device.stream(),
            host,
        })
    }
}

impl Backend for Gpu {
    type Tensor = Tensor;
    type Matrix = Arc<Matrix>;
    type Stack = Stack;
    type Vector = Vector;
    type Rope = Rope;
    type Cache = Cache;

    const STACKS: bool = true;

    fn isa(&self) -> Isa {
        self.host.isa()
    }

    fn thread_pool(&self) -> Option<&ThreadPool> {
        Some(self.host.pool())
    }

    fn measure_roofs(&self) -> Option<Roofs> {
        let roofs = self.stream.measure_roofs().ok()?;
        Some(Roofs {
            read_bandwidth: roofs.read_bandwidth,
            int8_macs: roofs.int8_macs,
            f32_macs: roofs.f32_macs,
        })
    }

    fn max_rows(&self, columns: usize) -> usize {
        // Twice as many where the input of the head is split.
        let row = 2 * size_of::<f32>() * columns.max(1);
        let bytes = self.stream.device().info().max_binding_bytes;
        (bytes / row as u64) as usize
    }

    fn is_lost(&self) -> bool {
        self.stream.device().is_lost().is_some()
    }

    fn warm_up_steps(&self) -> &'static [usize] {
        matou_gpu::WARM_UP_ROWS
    }

    fn warmed_up(&self) {
        // Without a file they are compiled again next time, which is all that comes of it.
        let _ = self.stream.device().save_pipelines();
    }

    fn cost(weight: &Arc<Matrix>) -> Option<WeightCost> {
        Some(WeightCost {
            bytes: weight.bytes(),
            macs: (weight.rows() * weight.columns()) as u64,
        })
    }

    fn load_matrix(
        &self,
        loader: &Loader<'_>,
        names: &[(String, usize)],
        columns: usize,
    ) -> Result<Arc<Matrix>> {
        // The strips of the CPU's kernels go up as they are, and are forgotten here.
        let packed = names
            .iter()
            .map(|(name, rows)| loader.packed(&self.host, name, *rows, columns))
            .collect::<Result<Vec<PackedMatrix>>>()?;
        let packed: Vec<&PackedMatrix> = packed.iter().collect();
        Ok(Arc::new(self.stream.matrix(&packed)?))
    }

    fn load_stack(
        &self,
        loader: &Loader<'_>,
        names: &[Vec<String>],
        rows: usize,
        columns: usize,
    ) -> Result<Option<Stack>> {
        let packed = names
            .iter()
            .map(|names| loader.packed_together(&self.host, names, rows, columns))
            .collect::<Result<Vec<PackedMatrix>>>()?;
        let packed: Vec<&PackedMatrix> = packed.iter().collect();
        Ok(Some(self.stream.stack(&packed)?))
    }

    fn stack_cost(stack: &Stack) -> WeightCost {
        WeightCost {
            bytes: stack.bytes() / stack.matrices().max(1) as u64,
            macs: (stack.rows() * stack.columns()) as u64,
        }
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vector> {
        Ok(self.stream.vector(&values)?)
    }

    fn rope(&self, inv_freq: Vec<f32>, magnitude: f64) -> Result<Rope> {
        Ok(Rope {
            table: RopeTable::new(inv_freq, magnitude as f32),
            cos_sin: None,
        })
    }

    fn cache(&self, shape: CacheShape, dtype: KvCacheDtype) -> Result<Cache> {
        let blocks = KvCache::new(
            &self.stream,
            shape.layers,
            shape.num_blocks,
            shape.kv_heads,
            shape.head_dim,
            kernel_type(dtype),
        )
        .map_err(|error| ModelError::KvCache(error.to_string()))?;
        Ok(Cache { blocks, step: None })
    }

    fn block_bytes(&self, kv_heads: usize, head_dim: usize, dtype: KvCacheDtype) -> usize {
        // Heads that there are no kernels for are refused when the cache is allocated.
        KvCache::block_bytes(kv_heads, head_dim, kernel_type(dtype)).unwrap_or(0) as usize
    }

    fn max_blocks(&self, kv_heads: usize, head_dim: usize, dtype: KvCacheDtype) -> Option<usize> {
        let device = self.stream.device();
        KvCache::max_blocks(device, kv_heads, head_dim, kernel_type(dtype)).ok()
    }

    fn adapter_math(&self) -> Option<Arc<dyn AdapterMath>> {
        None
    }

    fn target_weight(_weight: &Arc<Matrix>, _index: usize) -> TargetWeight {
        TargetWeight::Elsewhere
    }

    fn shape(x: &Tensor) -> (usize, usize) {
        (x.rows(), x.columns())
    }

    fn begin_step(&self, cache: &mut Cache, batch: &ForwardBatch) -> Result<()> {
        cache.step = Some(AttentionStep::new(
            &self.stream,
            &batch.query_start_loc,
            &batch.seq_lens,
            &batch.block_tables,
            &batch.block_table_start,
            &batch.positions,
            &batch.slot_mapping,
        )?);
        Ok(())
    }

    fn begin_rope(&self, rope: &mut Rope, positions: &[u32]) -> Result<()> {
        let last = positions.iter().max().copied().unwrap_or(0);
        rope.table.grow_to(last as usize + 1);
        let half = rope.table.rotary_dim() / 2;
        if half == 0 {
            return Ok(());
        }
        let at = |position: &u32| rope.table.at(*position);
        let cos: Vec<f32> = positions.iter().flat_map(|it| at(it).0).copied().collect();
        let sin: Vec<f32> = positions.iter().flat_map(|it| at(it).1).copied().collect();
        let upload = |values: &[f32]| self.stream.upload(values, positions.len(), half);
        rope.cos_sin = Some((upload(&cos)?, upload(&sin)?));
        Ok(())
    }

    fn embed(&self, table: &Arc<Matrix>, ids: &[u32]) -> Result<Tensor> {
        let rows = self.stream.indices(ids)?;
        Ok(self.stream.embed(table, &rows)?)
    }

    fn linear(&self, weight: &Arc<Matrix>, bias: Option<&Vector>, x: &Tensor) -> Result<Tensor> {
        Ok(self.stream.linear(weight, x, bias)?)
    }

    fn linear_fine(&self, weight: &Arc<Matrix>, x: &Tensor) -> Result<Tensor> {
        Ok(self.stream.linear_split(weight, x)?)
    }

    fn adapt(&self, _adapted: &[Adapted<'_>], _x: &Tensor, _y: Tensor) -> Result<Tensor> {
        let message = "adapters are applied on the CPU only: use --device cpu".to_owned();
        Err(ModelError::Forward(message))
    }

    fn rms_norm(&self, x: &Tensor, weight: &Vector, eps: f32) -> Result<Tensor> {
        Ok(self.stream.rms_norm(x, weight, eps)?)
    }

    fn add_rms_norm(
        &self,
        residual: &mut Tensor,
        delta: Tensor,
        weight: &Vector,
        eps: f32,
    ) -> Result<Tensor> {
        Ok(self.stream.add_rms_norm(residual, &delta, weight, eps)?)
    }

    fn norm_heads(
        &self,
        fused: &mut Tensor,
        (first, heads): (usize, usize),
        weight: &Vector,
        eps: f32,
    ) -> Result<()> {
        Ok(self.stream.norm_heads(fused, first, heads, weight, eps)?)
    }

    fn rotate(
        &self,
        rope: &Rope,
        fused: &mut Tensor,
        layout: HeadLayout,
        _positions: &[u32],
    ) -> Result<()> {
        let Some((cos, sin)) = &rope.cos_sin else {
            // Nothing rotates.
            return Ok(());
        };
        let heads = layout.queries + layout.keys;
        Ok(self
            .stream
            .rotate(fused, heads, layout.head_dim, cos, sin)?)
    }

    fn scale_rows(&self, x: &mut Tensor, columns: usize, factors: &[f32]) -> Result<()> {
        let factors = self.stream.upload(factors, factors.len(), 1)?;
        Ok(self.stream.scale_rows(x, columns, &factors)?)
    }

    fn attend(
        &self,
        cache: &mut Cache,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        _batch: &ForwardBatch,
    ) -> Result<Tensor> {
        let Some(step) = &cache.step else {
            let message = "the step's places in the cache are not prepared".to_owned();
            return Err(ModelError::Forward(message));
        };
        Ok(self
            .stream
            .attend(&cache.blocks, layer, params, qkv, step)?)
    }

    fn gate(&self, gate_up: &Tensor, size: usize, activation: Activation) -> Result<Tensor> {
        let activation = match activation {
            Activation::Silu => matou_gpu::Activation::Silu,
            Activation::GeluTanh => matou_gpu::Activation::GeluTanh,
        };
        Ok(self.stream.gate(gate_up, size, activation)?)
    }

    fn experts(&self, stacks: &Experts<Self>, logits: &Tensor, x: &Tensor) -> Result<Tensor> {
        let stream = &self.stream;
        let (chosen, shares) = stream.route(logits, stacks.per_token)?;
        let gate_up = stream.linear_of(&stacks.gate_up, x, &chosen)?;
        let gated = self.gate(&gate_up, stacks.intermediate_size, stacks.activation)?;
        drop(gate_up);
        let out = stream.linear_of(&stacks.down, &gated, &chosen)?;
        Ok(stream.sum_chosen(&out, &shares)?)
    }

    fn scale(&self, x: &mut Tensor, factor: f32) -> Result<()> {
        Ok(self.stream.scale(x, factor)?)
    }

    fn select_rows(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let indices = self.stream.indices(rows)?;
        Ok(self.stream.select_rows(x, &indices, rows.len())?)
    }

    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(self.stream.zeros(rows, columns)?)
    }

    fn add_weighted_rows(
        &self,
        y: &mut Tensor,
        x: &Tensor,
        rows: &[u32],
        weights: &[f32],
    ) -> Result<()> {
        let indices = self.stream.indices(rows)?;
        let weights = self.stream.upload(weights, weights.len(), 1)?;
        Ok(self.stream.add_weighted_rows(y, x, &indices, &weights)?)
    }

    fn read(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(self.stream.read(x)?)
    }

    fn read_logits(&self, x: Tensor, factor: f32, cap: Option<f32>) -> Result<Vec<f32>> {
        let mut values = self.stream.read(&x)?;
        if factor != 1.0 {
            matou_kernels::scale(&self.host, &mut values, factor);
        }
        if let Some(cap) = cap {
            matou_kernels::softcap(&self.host, &mut values, cap);
        }
        Ok(values)
    }

    fn finish(&self) -> Result<()> {
        Ok(self.stream.finish()?)
    }
}
