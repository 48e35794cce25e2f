//! Causal attention of a ragged batch over a paged cache.
//!
//! | module | what it holds |
//! |---|---|
//! | `cache` | keys and values in blocks of sixteen positions |
//! | `element` | the types that they are kept in |
//! | `products` | the two matrix products, in registers |
//! | `tile` | the online softmax of a few queries, and why its bits never change |
//! | `call` | the work of a batch, cut into tasks |

mod cache;
mod call;
mod element;
mod products;
#[cfg(test)]
mod tests;
mod tile;

use half::f16;

pub use cache::{BLOCK_SIZE, KvDtype, KvPool};

use crate::Context;
use call::attend;

/// Rows of numbers: row i starts at `data[i * stride]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// All rows; the last may end before a whole stride.
    pub data: &'a [f32],
    /// Elements from the start of a row to the start of the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Row i and whatever follows it.
    fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..]
    }
}

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionParams {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What scores are multiplied by, usually 1/√head_dim.
    pub scale: f32,
    /// How many positions a query attends to, itself included; all up to itself if `None`.
    pub sliding_window: Option<usize>,
    /// Scores s become c · tanh(s / c).
    pub softcap: Option<f32>,
}

impl AttentionParams {
    /// Query heads to a key-value head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Which rows belong to which request, and where the requests' keys and values are.
#[derive(Clone, Copy)]
pub struct PagedBatch<'a> {
    /// R + 1 numbers: request r has the rows from the r-th to the (r+1)-th.
    pub query_start_loc: &'a [u32],
    /// R context lengths, the rows of this batch included; the last row of request r is at position
    /// `seq_lens[r] − 1`.
    pub seq_lens: &'a [u32],
    /// The block tables of all requests, one after the other. Entries of blocks that lie wholly
    /// before a request's sliding window may hold anything.
    pub block_tables: &'a [u32],
    /// R + 1 numbers: request r has the block table from the r-th to the (r+1)-th.
    pub block_table_start: &'a [u32],
}

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
