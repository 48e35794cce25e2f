//! The `matou` program as a library, so that tests and benchmarks reach what the binary is made of.
//!
//! The house itself is in `crates/`; ARCHITECTURE.md is its map. Here is only what joins the rooms:
//! flags ([`cli`]), files to a running model ([`load`]), whether it fits ([`fit`]), and the size of the KV
//! cache ([`kv_plan`]).

pub mod cli;
pub mod fit;
pub mod kv_plan;
pub mod load;
