//! CPU kernels: slices in, slices out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`dispatch`] | which instructions may be used, decided once |
//! | `pool` | the threads that share every loop |
//! | [`mod@format`] | the formats of weights, quantised or not |
//! | `quant`, `matmul`, `packed` | their layouts in memory, kernels of products, packed matrices |
//! | [`attention`] | paged attention and its cache |
//! | [`norm`], [`rope`], [`activation`] | the small operations between matrix products |
//! | [`rows`] | parallel loops over rows |
//! | [`vector`] | long rows of logits, for sampling |
//! | `memory` | huge pages; disjoint writes from tasks |
//! | [`bandwidth`] | the roofs: what memory and arithmetic of this machine can do |
//! | `simd` | sixteen `f32` lanes on any instruction set, and 8-bit dot products |
//!
//! What every kernel keeps to:
//!
//! 1. **A row depends on its own inputs alone.** The order of floating-point operations that make an
//!    output row is fixed by shapes and absolute positions, never by the number of rows, the other
//!    rows, the number of threads, or how a prompt was cut into chunks: results are the same bits.
//! 2. **One algorithm, several instruction sets.** The scalar path is the reference; the others agree
//!    with it within the bounds that their tests state.
//! 3. **Nothing is allocated in the steady state**; scratch memory lives as long as its thread.
//! 4. **Wrong shapes panic** with a message: they are bugs of the caller. Untrusted data (weights)
//!    is checked where it enters and yields errors.

pub mod activation;
pub mod attention;
pub mod bandwidth;
mod context;
pub mod dispatch;
pub mod format;
mod matmul;
mod memory;
pub mod norm;
mod packed;
mod pool;
mod quant;
pub mod rope;
pub mod rows;
mod simd;
#[cfg(test)]
mod testing;
pub mod vector;

pub use activation::{add, add_bias, geglu_tanh, gelu_tanh, scale, silu, softcap, swiglu};
pub use attention::{
    AttentionParams, BLOCK_SIZE, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};
pub use context::Context;
pub use dispatch::{Isa, IsaError};
pub use format::{Format, FormatError};
pub use memory::{AllocError, HugeBuffer, SharedMut, give_back_freed};
pub use norm::{add_rms_norm, rms_norm, rms_norm_heads};
pub use packed::{PackError, PackedMatrix, Product, dequantize, matmul, matmul_each};
pub use pool::ThreadPool;
pub use quant::description::{QuantizedStrip, StripCodes, StripFloats, StripLayout, StripScales};
pub use rope::{RopeTable, rope_neox};
