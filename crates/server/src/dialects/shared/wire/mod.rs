//! JSON that several dialects have in common: OpenAI's, which the others took over or build on.

mod fields;
mod logprobs;
mod structured;
mod tools;

pub(crate) use fields::*;
pub(crate) use logprobs::*;
pub(crate) use structured::*;
pub(crate) use tools::*;
