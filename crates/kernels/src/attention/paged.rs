//! Attention as the model calls it: shapes checked, the type of the cache chosen.

use half::f16;

use super::cache::{KvDtype, KvPool};
use super::call::attend;
use super::params::{AttentionParams, PagedBatch, Rows};
use crate::context::Context;

/// Attention of the queries `q` (row i: `[heads, head_dim]`) to the cache, which holds the keys and
/// values of the batch's own rows already. `out` is `[rows, heads · head_dim]`.
///
/// # Panics
/// The shapes do not fit each other, or a block table within bounds names a block beyond the pool.
pub fn paged_attention(
    ctx: &Context,
    params: &AttentionParams,
    q: Rows<'_>,
    pool: &KvPool,
    batch: &PagedBatch<'_>,
    out: &mut [f32],
) {
    check(params, pool, batch, out);
    match pool.dtype() {
        KvDtype::F32 => attend::<f32>(ctx, params, q, pool, batch, out),
        KvDtype::F16 => attend::<f16>(ctx, params, q, pool, batch, out),
        KvDtype::Q8 => attend::<i8>(ctx, params, q, pool, batch, out),
    }
}

fn check(params: &AttentionParams, pool: &KvPool, batch: &PagedBatch<'_>, out: &[f32]) {
    let shape = pool.shape();
    assert_eq!(
        params.kv_heads, shape.kv_heads,
        "key-value heads of the cache"
    );
    assert_eq!(params.head_dim, shape.head_dim, "head size of the cache");
    assert!(
        params.heads.is_multiple_of(params.kv_heads),
        "{} query heads do not divide into {} groups",
        params.heads,
        params.kv_heads
    );
    assert_ne!(params.sliding_window, Some(0), "a window of no positions");
    let requests = batch.seq_lens.len();
    assert_eq!(batch.query_start_loc.len(), requests + 1, "query_start_loc");
    assert_eq!(
        batch.block_table_start.len(),
        requests + 1,
        "block_table_start"
    );
    // Tasks write the rows of their requests at the same time.
    assert!(batch.query_start_loc.is_sorted(), "requests overlap");
    let rows = batch.query_start_loc[requests] as usize;
    assert_eq!(out.len(), rows * params.heads * params.head_dim, "output");
}
