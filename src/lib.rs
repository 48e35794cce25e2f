//! The `matou` program as a library, so that tests and benchmarks reach what the binary is made of: its
//! command line. The house itself is in `crates/`; ARCHITECTURE.md is its map.

pub mod cli;
