//! The CPU: matou's kernels, with f32 activations.

mod adapters;
mod split;
mod tensor;

use std::convert::Infallible;
use std::sync::Arc;

use matou_kernels::activation::{add, add_bias, geglu_tanh, scale, softcap, swiglu};
use matou_kernels::attention::{AttentionParams, KvPool, PagedBatch, Rows, paged_attention};
use matou_kernels::norm::{add_rms_norm, rms_norm, rms_norm_heads};
use matou_kernels::rope::{RopeTable, rope_neox};
use matou_kernels::rows::for_row_part;
use matou_kernels::{Context, Isa, PackedMatrix, ThreadPool, matmul};

use self::adapters::CpuMath;
use self::split::split_rows;
use self::tensor::{CpuTensor, FreeBuffers, gather};
use super::types::{Activation, CacheShape, HeadLayout, kernel_type};
use super::{Backend, Experts};
use crate::adapter::{Adapted, AdapterMath, TargetWeight};
use crate::cost::{Roofs, WeightCost};
use crate::error::{ModelError, Result};
use crate::forward_batch::ForwardBatch;
use crate::language_model::KvCacheDtype;
use crate::loader::Loader;

/// The kernels' context, and the memory that one operation leaves to the next.
#[derive(Clone)]
pub(crate) struct Cpu {
    /// Threads and instruction set.
    context: Context,
    free: FreeBuffers,
}

impl Cpu {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            free: FreeBuffers::default(),
        }
    }

    /// A new tensor; `fill` must write all of it.
    fn produce(&self, shape: (usize, usize), fill: impl FnOnce(&mut [f32])) -> CpuTensor {
        self.free.produce(shape, fill)
    }

    /// Products with matrices whose outputs stand side by side. They read (and quantise) the input
    /// once for all of them.
    fn multiply(&self, matrices: &[Arc<PackedMatrix>], x: &CpuTensor) -> CpuTensor {
        let columns = matrices.iter().map(|matrix| matrix.rows()).sum();
        let matrices: Vec<&PackedMatrix> = matrices.iter().map(Arc::as_ref).collect();
        self.produce((x.shape().0, columns), |out| {
            matmul(&self.context, &matrices, x.data(), out);
        })
    }
}

impl Backend for Cpu {
    type Tensor = CpuTensor;
    type Matrix = Vec<Arc<PackedMatrix>>;
    /// Experts are computed one by one, each for all rows that chose it.
    type Stack = Infallible;
    type Vector = Vec<f32>;
    type Rope = RopeTable;
    /// One pool of blocks for each layer.
    type Cache = Vec<KvPool>;

    fn isa(&self) -> Isa {
        self.context.isa()
    }

    fn thread_pool(&self) -> Option<&ThreadPool> {
        Some(self.context.pool())
    }

    fn measure_roofs(&self) -> Option<Roofs> {
        Roofs::of_cpu(&self.context)
    }

    fn cost(weight: &Self::Matrix) -> Option<WeightCost> {
        let cost = |matrix: &Arc<PackedMatrix>| WeightCost {
            bytes: matrix.bytes() as u64,
            macs: (matrix.rows() * matrix.cols()) as u64,
        };
        Some(weight.iter().map(cost).sum())
    }

    fn load_matrix(
        &self,
        loader: &Loader<'_>,
        names: &[(String, usize)],
        columns: usize,
    ) -> Result<Self::Matrix> {
        let pack = |(name, rows): &(String, usize)| {
            let packed = loader.packed(&self.context, name, *rows, columns)?;
            Ok(Arc::new(packed))
        };
        names.iter().map(pack).collect()
    }

    fn stack_cost(stack: &Infallible) -> WeightCost {
        match *stack {}
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn rope(&self, inv_freq: Vec<f32>, magnitude: f64) -> Result<RopeTable> {
        Ok(RopeTable::new(inv_freq, magnitude as f32))
    }

    fn cache(&self, shape: CacheShape, dtype: KvCacheDtype) -> Result<Vec<KvPool>> {
        let CacheShape {
            layers,
            num_blocks,
            kv_heads,
            head_dim,
        } = shape;
        (0..layers)
            .map(|_| KvPool::new(num_blocks, kv_heads, head_dim, kernel_type(dtype)))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| ModelError::KvCache(error.to_string()))
    }

    fn block_bytes(&self, kv_heads: usize, head_dim: usize, dtype: KvCacheDtype) -> usize {
        KvPool::bytes(1, kv_heads, head_dim, kernel_type(dtype))
    }

    fn adapter_math(&self) -> Option<Arc<dyn AdapterMath>> {
        Some(Arc::new(CpuMath(self.context.clone())))
    }

    fn target_weight(weight: &Self::Matrix, index: usize) -> TargetWeight {
        TargetWeight::Packed(Arc::clone(&weight[index]))
    }

    fn shape(x: &CpuTensor) -> (usize, usize) {
        x.shape()
    }

    fn begin_step(&self, _cache: &mut Vec<KvPool>, _batch: &ForwardBatch) -> Result<()> {
        Ok(())
    }

    fn begin_rope(&self, rope: &mut RopeTable, positions: &[u32]) -> Result<()> {
        let last = positions.iter().max().copied().unwrap_or(0);
        rope.grow_to(last as usize + 1);
        Ok(())
    }

    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<CpuTensor> {
        let [table] = table.as_slice() else {
            return Err(ModelError::Forward("the embedding is one table".to_owned()));
        };
        let columns = table.cols();
        Ok(self.produce((ids.len(), columns), |out| {
            for_row_part(&self.context, ids.len(), (out, columns), |rows, out| {
                for (&id, row) in ids[rows].iter().zip(out.chunks_exact_mut(columns)) {
                    table.row(id as usize, row);
                }
            });
        }))
    }

    fn linear(
        &self,
        weight: &Self::Matrix,
        bias: Option<&Vec<f32>>,
        x: &CpuTensor,
    ) -> Result<CpuTensor> {
        let mut y = self.multiply(weight, x);
        if let Some(bias) = bias {
            add_bias(&self.context, y.data_mut(), bias);
        }
        Ok(y)
    }

    fn linear_fine(&self, weight: &Self::Matrix, x: &CpuTensor) -> Result<CpuTensor> {
        let rounds = |matrix: &Arc<PackedMatrix>| matrix.format().block_size() > 1;
        if !weight.iter().any(rounds) {
            return self.linear(weight, None, x);
        }
        let (rows, columns) = x.shape();
        let parts = self.produce((2 * rows, columns), |out| {
            split_rows(&self.context, x.data(), out);
        });
        let mut y = self.multiply(weight, &parts);
        let half = y.data().len() / 2;
        let (coarse, fine) = y.data_mut().split_at_mut(half);
        add(&self.context, coarse, fine);
        y.truncate(rows);
        Ok(y)
    }

    fn adapt(&self, adapted: &[Adapted<'_>], x: &CpuTensor, mut y: CpuTensor) -> Result<CpuTensor> {
        adapters::apply(&self.context, &self.free, adapted, x, &mut y);
        Ok(y)
    }

    fn rms_norm(&self, x: &CpuTensor, weight: &Vec<f32>, eps: f32) -> Result<CpuTensor> {
        Ok(self.produce(x.shape(), |out| {
            rms_norm(&self.context, x.data(), weight, eps, out);
        }))
    }

    fn add_rms_norm(
        &self,
        residual: &mut CpuTensor,
        delta: CpuTensor,
        weight: &Vec<f32>,
        eps: f32,
    ) -> Result<CpuTensor> {
        Ok(self.produce(residual.shape(), |out| {
            let (residual, delta) = (residual.data_mut(), delta.data());
            add_rms_norm(&self.context, residual, delta, weight, eps, out);
        }))
    }

    fn norm_heads(
        &self,
        fused: &mut CpuTensor,
        (first, heads): (usize, usize),
        weight: &Vec<f32>,
        eps: f32,
    ) -> Result<()> {
        let (_, width) = fused.shape();
        let fused = &mut fused.data_mut()[first..];
        rms_norm_heads(&self.context, fused, width, heads, weight, eps);
        Ok(())
    }

    fn rotate(
        &self,
        rope: &RopeTable,
        fused: &mut CpuTensor,
        layout: HeadLayout,
        positions: &[u32],
    ) -> Result<()> {
        let (_, width) = fused.shape();
        let heads = layout.queries + layout.keys;
        let fused = fused.data_mut();
        rope_neox(
            &self.context,
            rope,
            fused,
            width,
            heads,
            layout.head_dim,
            positions,
        );
        Ok(())
    }

    fn scale_rows(&self, x: &mut CpuTensor, columns: usize, factors: &[f32]) -> Result<()> {
        let (rows, width) = x.shape();
        for_row_part(&self.context, rows, (x.data_mut(), width), |rows, x| {
            for (row, factor) in x.chunks_exact_mut(width).zip(&factors[rows]) {
                row[..columns].iter_mut().for_each(|x| *x *= factor);
            }
        });
        Ok(())
    }

    fn attend(
        &self,
        cache: &mut Vec<KvPool>,
        layer: usize,
        params: &AttentionParams,
        qkv: &CpuTensor,
        batch: &ForwardBatch,
    ) -> Result<CpuTensor> {
        let (tokens, stride) = qkv.shape();
        let keys = params.heads * params.head_dim;
        let values = keys + params.kv_heads * params.head_dim;
        let pool = &mut cache[layer];
        let paged = PagedBatch {
            query_start_loc: &batch.query_start_loc,
            seq_lens: &batch.seq_lens,
            block_tables: &batch.block_tables,
            block_table_start: &batch.block_table_start,
        };
        let part = |first: usize| Rows {
            data: &qkv.data()[first..],
            stride,
        };
        Ok(self.produce((tokens, keys), |out| {
            let context = &self.context;
            pool.write(context, &batch.slot_mapping, part(keys), part(values));
            paged_attention(context, params, part(0), pool, &paged, out);
        }))
    }

    fn gate(&self, gate_up: &CpuTensor, size: usize, activation: Activation) -> Result<CpuTensor> {
        let (rows, _) = gate_up.shape();
        let gate_up = gate_up.data();
        Ok(self.produce((rows, size), |out| match activation {
            Activation::Silu => swiglu(&self.context, gate_up, size, out),
            Activation::GeluTanh => geglu_tanh(&self.context, gate_up, size, out),
        }))
    }

    fn experts(
        &self,
        stacks: &Experts<Self>,
        _logits: &CpuTensor,
        _x: &CpuTensor,
    ) -> Result<CpuTensor> {
        match stacks.down {}
    }

    fn scale(&self, x: &mut CpuTensor, factor: f32) -> Result<()> {
        scale(&self.context, x.data_mut(), factor);
        Ok(())
    }

    fn select_rows(&self, x: &CpuTensor, rows: &[u32]) -> Result<CpuTensor> {
        Ok(gather(&self.context, &self.free, x, rows))
    }

    fn zeros(&self, rows: usize, columns: usize) -> Result<CpuTensor> {
        Ok(self.produce((rows, columns), |out| out.fill(0.0)))
    }

    fn add_weighted_rows(
        &self,
        y: &mut CpuTensor,
        x: &CpuTensor,
        rows: &[u32],
        weights: &[f32],
    ) -> Result<()> {
        let (tokens, columns) = y.shape();
        let x = x.data();
        for_row_part(&self.context, tokens, (y.data_mut(), columns), |part, y| {
            let place = |row: usize| rows.partition_point(|&chosen| (chosen as usize) < row);
            for i in place(part.start)..place(part.end) {
                let y = &mut y[(rows[i] as usize - part.start) * columns..][..columns];
                for (y, x) in y.iter_mut().zip(&x[i * columns..][..columns]) {
                    // Rounded twice, as in the operations of other backends.
                    *y += x * weights[i];
                }
            }
        });
        Ok(())
    }

    fn read(&self, x: &CpuTensor) -> Result<Vec<f32>> {
        Ok(x.data().to_vec())
    }

    fn read_logits(&self, x: CpuTensor, factor: f32, cap: Option<f32>) -> Result<Vec<f32>> {
        let mut values = x.into_vec();
        if factor != 1.0 {
            scale(&self.context, &mut values, factor);
        }
        if let Some(cap) = cap {
            softcap(&self.context, &mut values, cap);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered_and_added_alike_on_any_number_of_threads() {
        let (tokens, columns) = (100, 576);
        let x: Vec<f32> = (0..tokens * columns)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let rows: Vec<u32> = (0..tokens as u32).filter(|row| row % 3 != 1).collect();
        let weights: Vec<f32> = rows.iter().map(|row| 1.0 / (1.0 + *row as f32)).collect();
        let added = |threads| {
            let cpu = Cpu::new(Context::new(Isa::Scalar, threads));
            let input = cpu.produce((tokens, columns), |out| out.copy_from_slice(&x));
            let gathered = cpu.select_rows(&input, &rows).unwrap();
            let mut y = cpu.produce((tokens, columns), |out| out.fill(1.0));
            cpu.add_weighted_rows(&mut y, &gathered, &rows, &weights)
                .unwrap();
            y.into_vec()
        };
        let expected = added(1);
        for (i, y) in expected.iter().enumerate() {
            let row = i / columns;
            let weight = if row % 3 == 1 {
                0.0
            } else {
                1.0 / (1.0 + row as f32)
            };
            assert_eq!(*y, 1.0 + x[i] * weight);
        }
        assert_eq!(added(2), expected);
        assert_eq!(added(3), expected);
    }
}
