//! What the dialects have in common: fields on the wire and what they mean, and the reading of them.

pub(crate) mod calls;
pub(crate) mod convert;
pub(crate) mod fields;
pub(crate) mod logprobs;
pub(crate) mod models;
pub(crate) mod paths;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod union;
pub(crate) mod wire;
