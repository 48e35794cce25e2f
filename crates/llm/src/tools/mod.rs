//! Tools: what a request offers ([`functions`]), and how a model without a notation of its own is
//! told about them (`words`).

pub mod functions;
pub(crate) mod words;
