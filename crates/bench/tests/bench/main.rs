//! The load generator against servers that stall, lie, refuse and die.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod faults;
mod loads;
mod page;
mod server;
