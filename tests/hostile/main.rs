//! Hostile clients against the real server, beside honest ones.
//!
//! Each test attacks a server of its own with requests that any client may send, while an honest client
//! with another key asks and streams all the time. The honest one must be answered, its stream must not
//! stand still, memory must stay within a bound, and afterwards everything must be given back
//! ([`arena::Arena`]). The tests take turns: what they measure is the server, not each other.
//!
//! `soak` runs for some seconds, or for as long as it is told:
//! `MATOU_SOAK_SECONDS=1800 cargo test --release --workspace --test hostile -- soak --nocapture`.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[allow(dead_code)] // not all of it is needed here
#[path = "../it/harness.rs"]
mod harness;

mod amplification;
mod arena;
mod model;
mod order;
mod privacy;
mod process;
mod raw;
mod soak;
mod traffic;
mod work;
