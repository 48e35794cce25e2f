//! Causal attention of a ragged batch over a paged cache in the memory of a device.
//!
//! | module | what it holds |
//! |---|---|
//! | `layout` | how keys and values lie in words |
//! | `cache` | the cache of all layers |
//! | `step` | what the layers of a step share |
//! | `plan` | which workgroups a step needs |
//! | `attend` | the kernels, recorded |

mod attend;
mod cache;
mod layout;
mod plan;
mod step;

pub use cache::KvCache;
pub use step::AttentionStep;
