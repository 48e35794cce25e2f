//! The parts that decoders are made of. Each is written for any [`Backend`], and none knows of any
//! family.
//!
//! Activations are `[tokens, features]`, the tokens of a whole ragged batch.
//!
//! [`Backend`]: crate::backend::Backend

mod attention;
mod embedding;
mod feed_forward;
mod linear;
mod norm;
mod rope;

pub(crate) use self::attention::{Attention, Step};
pub(crate) use self::embedding::Embedding;
pub(crate) use self::feed_forward::{FeedForward, Mlp, SparseMoe, StackedMoe};
pub(crate) use self::linear::Linear;
pub(crate) use self::norm::RmsNorm;
pub(crate) use self::rope::Rope;
