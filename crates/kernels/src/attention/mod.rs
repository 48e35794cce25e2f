//! Causal attention of a ragged batch over a paged cache.
//!
//! | module | what it holds |
//! |---|---|
//! | `params` | the shape of a layer, and of a batch |
//! | `paged` | the call, checked |
//! | `cache` | keys and values in blocks of sixteen positions |
//! | `element` | the types that they are kept in |
//! | `products` | the two matrix products, in registers |
//! | `chunk` | four blocks of keys and values |
//! | `state` | what is known of a query on the way |
//! | `tile` | the online softmax of a few queries, and why its bits never change |
//! | `call` | the work of a batch, cut into tasks |

mod cache;
mod call;
mod chunk;
mod element;
mod paged;
mod params;
mod products;
mod state;
#[cfg(test)]
mod tests;
mod tile;

pub use cache::{BLOCK_SIZE, KvDtype, KvPool};
pub use paged::paged_attention;
pub use params::{AttentionParams, PagedBatch, Rows};
