//! Work in processes that can be stopped: a thread cannot be, and neither its memory taken back.
//!
//! ```text
//! Sandbox ── a few Workers, idle or at work ── each a process of this program
//!    │          job  ──stdin──▶  serve: handle(job)       memory, time and core dumps
//!    │       answer ◀──stdout──                           are limited by itself first
//!    └─ no answer in time, or none at all: killed, and another takes its place
//! ```
//!
//! A process does one job at a time and is used again. It ends when its parent does: then its input
//! has an end. Jobs and answers are bytes behind their length.

mod frames;
mod pool;
mod process;
mod program;
mod server;

pub use pool::{Counters, Sandbox};
pub use program::{Program, SandboxError};
pub use server::{Limits, serve};
