//! Histories in memory and in files, through what the crate offers.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod conversations;
mod crash;
mod files;
mod messages;
mod search;
mod server;
mod support;
mod transfer;
