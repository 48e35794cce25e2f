//! What backends are told, besides numbers.

use matou_kernels::attention::KvDtype;

use crate::language_model::KvCacheDtype;

/// The shape of the cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) num_blocks: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// How heads lie in a row of a fused projection: queries, then keys, then what does not rotate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLayout {
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) head_dim: usize,
}

/// The function of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`
    Silu,
    /// gelu in its tanh form.
    GeluTanh,
}

/// What the kernels call an element type of the cache.
pub(crate) fn kernel_type(dtype: KvCacheDtype) -> KvDtype {
    match dtype {
        KvCacheDtype::F32 => KvDtype::F32,
        KvCacheDtype::F16 => KvDtype::F16,
        KvCacheDtype::Q8 => KvDtype::Q8,
    }
}
