//! Where the layers of a model compute.
//!
//! Model code is written once, against [`Backend`]: what it computes with is the backend's business.
//!
//! | backend | activations | for |
//! |---|---|---|
//! | [`Cpu`] | vectors of f32 | the CPU, by matou's kernels |
//! | [`Gpu`] | buffers of the device | GPUs, by matou's compute shaders |
//! | [`Reference`] | candle's tensors | the oracle that tests hold both against: candle's operations on the CPU |

mod cpu;
mod gpu;
mod reference;
mod types;

use std::sync::Arc;

use matou_kernels::attention::AttentionParams;
use matou_kernels::{Isa, ThreadPool};

pub(crate) use self::cpu::Cpu;
pub(crate) use self::gpu::Gpu;
pub(crate) use self::reference::Reference;
pub(crate) use self::types::{Activation, CacheShape, HeadLayout, kernel_type};
use crate::adapter::{Adapted, AdapterMath, TargetWeight};
use crate::cost::{Roofs, WeightCost};
use crate::error::Result;
use crate::forward_batch::ForwardBatch;
use crate::language_model::KvCacheDtype;
use crate::loader::Loader;

/// Experts in stacks.
pub(crate) struct Experts<B: Backend> {
    /// Gate on top of up.
    pub(crate) gate_up: B::Stack,
    pub(crate) down: B::Stack,
    pub(crate) intermediate_size: usize,
    pub(crate) activation: Activation,
    pub(crate) per_token: usize,
}

/// A device, and how each operation of a decoder is done there.
///
/// Whatever a row of a result is computed from, the order of its floating-point operations depends on
/// shapes and absolute positions alone: the same row has the same bits in any batch. (The reference
/// doesn't promise that.) Cheap to clone.
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    /// Activations of a step: `[rows, columns]`.
    type Tensor: Send;
    /// One or several weight matrices that share an input; their outputs come side by side.
    type Matrix: Clone + Send + Sync;
    /// Matrices of one shape and format, of which each row of inputs has some.
    type Stack: Send + Sync;
    /// A bias, or the weight of a norm.
    type Vector: Send + Sync;
    /// What rotations by position need.
    type Rope: Send + Sync;
    /// Keys and values of all layers in blocks.
    type Cache: Send;

    /// Whether experts are computed in stacks, where they are alike.
    const STACKS: bool = false;

    /// The instruction set of what is computed from logits.
    fn isa(&self) -> Isa {
        Isa::from_env_or_detect().unwrap_or_else(|_| Isa::detect())
    }

    /// Threads that are idle between two steps.
    fn thread_pool(&self) -> Option<&ThreadPool> {
        None
    }

    /// Measures what the device can do at most, if that can be told.
    fn measure_roofs(&self) -> Option<Roofs> {
        None
    }

    /// What a row of inputs costs in products with these weights, if that is known.
    fn cost(weight: &Self::Matrix) -> Option<WeightCost>;

    /// The most rows of activations of so many columns, in one piece.
    fn max_rows(&self, _columns: usize) -> usize {
        usize::MAX
    }

    /// Whether the device has gone.
    fn is_lost(&self) -> bool {
        false
    }

    /// The numbers of tokens of steps that make the device ready for all others: what it has to compile
    /// is compiled then, and not when somebody waits for an answer.
    fn warm_up_steps(&self) -> &'static [usize] {
        &[]
    }

    /// Told after those steps.
    fn warmed_up(&self) {}

    // ---- What is loaded

    /// Loads the matrices `name` of `rows` rows each.
    fn load_matrix(
        &self,
        loader: &Loader<'_>,
        names: &[(String, usize)],
        columns: usize,
    ) -> Result<Self::Matrix>;

    /// Loads a matrix whose rows are looked up, too.
    fn load_table(
        &self,
        loader: &Loader<'_>,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Self::Matrix> {
        self.load_matrix(loader, &[(name.to_owned(), rows)], columns)
    }

    /// Loads a matrix for each of `names`, made of matrices of `rows` rows on top of each other, all of
    /// one format; `None` where experts are computed one by one.
    fn load_stack(
        &self,
        _loader: &Loader<'_>,
        _names: &[Vec<String>],
        _rows: usize,
        _columns: usize,
    ) -> Result<Option<Self::Stack>> {
        Ok(None)
    }

    /// What a row of inputs costs in a product with one matrix of a stack.
    fn stack_cost(stack: &Self::Stack) -> WeightCost;

    /// Brings a vector to the device.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector>;

    /// Rotations with these inverse frequencies, whose cosines and sines are multiplied by `magnitude`.
    fn rope(&self, inv_freq: Vec<f32>, magnitude: f64) -> Result<Self::Rope>;

    /// Allocates a cache.
    fn cache(&self, shape: CacheShape, dtype: KvCacheDtype) -> Result<Self::Cache>;

    /// Bytes of a block of one layer's cache.
    fn block_bytes(&self, kv_heads: usize, head_dim: usize, dtype: KvCacheDtype) -> usize;

    /// The most blocks that a cache can have, where the device bounds that.
    fn max_blocks(
        &self,
        _kv_heads: usize,
        _head_dim: usize,
        _dtype: KvCacheDtype,
    ) -> Option<usize> {
        None
    }

    /// What adapters are loaded with; `None` where there can be none.
    fn adapter_math(&self) -> Option<Arc<dyn AdapterMath>>;

    /// What adapters have to know of matrix `index` of those that are loaded together.
    fn target_weight(weight: &Self::Matrix, index: usize) -> TargetWeight;

    // ---- A step

    /// Rows and columns.
    fn shape(x: &Self::Tensor) -> (usize, usize);

    /// Makes ready for a step of this batch.
    fn begin_step(&self, cache: &mut Self::Cache, batch: &ForwardBatch) -> Result<()>;

    /// Makes ready for rotations by these positions.
    fn begin_rope(&self, rope: &mut Self::Rope, positions: &[u32]) -> Result<()>;

    /// Looks rows up: `[ids, columns]`.
    fn embed(&self, table: &Self::Matrix, ids: &[u32]) -> Result<Self::Tensor>;

    /// `x Wᵀ + b`: `[rows, columns]` to `[rows, Σ rows of W]`.
    fn linear(
        &self,
        weight: &Self::Matrix,
        bias: Option<&Self::Vector>,
        x: &Self::Tensor,
    ) -> Result<Self::Tensor>;

    /// The same without a bias, with the rounding of its input to 8 bits all but undone, where there
    /// is any.
    ///
    /// For the head, whose rounding goes straight into the logits: on SmolLM2 in Q4_1 it makes four
    /// tenths of the divergence from f32 (0.0026 with, 0.0016 without, on a text of 1,024 tokens).
    /// The price is a second row for each row, where reading the weights is most of the work.
    fn linear_fine(&self, weight: &Self::Matrix, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// What adapters of some rows make of the output `y` of a linear layer for `x`.
    fn adapt(
        &self,
        adapted: &[Adapted<'_>],
        x: &Self::Tensor,
        y: Self::Tensor,
    ) -> Result<Self::Tensor>;

    /// `x / sqrt(mean(x²) + eps) · w` of each row.
    fn rms_norm(&self, x: &Self::Tensor, weight: &Self::Vector, eps: f32) -> Result<Self::Tensor>;

    /// Adds `delta` to `residual`, and gives the norm of the sum.
    fn add_rms_norm(
        &self,
        residual: &mut Self::Tensor,
        delta: Self::Tensor,
        weight: &Self::Vector,
        eps: f32,
    ) -> Result<Self::Tensor>;

    /// Norms some heads, each on its own, of every row: `heads` are the first column and how many
    /// follow.
    fn norm_heads(
        &self,
        fused: &mut Self::Tensor,
        heads: (usize, usize),
        weight: &Self::Vector,
        eps: f32,
    ) -> Result<()>;

    /// Rotates queries and keys of each row by its position, which [`begin_rope`](Self::begin_rope) was
    /// told.
    fn rotate(
        &self,
        rope: &Self::Rope,
        fused: &mut Self::Tensor,
        layout: HeadLayout,
        positions: &[u32],
    ) -> Result<()>;

    /// Multiplies the first `columns` columns of each row by the row's factor.
    fn scale_rows(&self, x: &mut Self::Tensor, columns: usize, factors: &[f32]) -> Result<()>;

    /// Writes the keys and values of one layer by slot, then attends.
    ///
    /// `qkv` is `[tokens, (heads + 2 · kv_heads) · head_dim]`: queries, keys and values side by
    /// side, rotated already. The result is `[tokens, heads · head_dim]`. Token `j` of a request's
    /// run sees the positions up to its own, of which the last `sliding_window` if there is one.
    fn attend(
        &self,
        cache: &mut Self::Cache,
        layer: usize,
        params: &AttentionParams,
        qkv: &Self::Tensor,
        batch: &ForwardBatch,
    ) -> Result<Self::Tensor>;

    /// `activation(gate) · up` of rows that are `size` columns of gate, then as many of up.
    fn gate(
        &self,
        gate_up: &Self::Tensor,
        size: usize,
        activation: Activation,
    ) -> Result<Self::Tensor>;

    /// Sparse experts: `per_token` for each row of `x`, those with the largest of its `logits`. Their
    /// outputs are added in the order of their numbers, with the softmax over those chosen.
    fn experts(
        &self,
        stacks: &Experts<Self>,
        logits: &Self::Tensor,
        x: &Self::Tensor,
    ) -> Result<Self::Tensor>;

    /// Multiplies by a factor.
    fn scale(&self, x: &mut Self::Tensor, factor: f32) -> Result<()>;

    /// Some rows, in their order.
    fn select_rows(&self, x: &Self::Tensor, rows: &[u32]) -> Result<Self::Tensor>;

    /// Zeros.
    fn zeros(&self, rows: usize, columns: usize) -> Result<Self::Tensor>;

    /// Adds to row `rows[i]` of `y` row `i` of `x` times `weights[i]`; `rows` ascend.
    fn add_weighted_rows(
        &self,
        y: &mut Self::Tensor,
        x: &Self::Tensor,
        rows: &[u32],
        weights: &[f32],
    ) -> Result<()>;

    /// The values, row by row. What was begun is done when this returns.
    fn read(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// The values times `factor`, and softly capped: `c · tanh(x / c)`.
    fn read_logits(&self, x: Self::Tensor, factor: f32, cap: Option<f32>) -> Result<Vec<f32>>;

    /// Waits until what was begun is done, where nothing is read.
    fn finish(&self) -> Result<()> {
        Ok(())
    }
}
