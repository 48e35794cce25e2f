//! The real server, started as a user starts it, driven by real clients.
//!
//! Those in `online` need the network once: for the catalogue's default model, which is fetched into
//! the user's cache, or for packages of clients. The others run on fixtures.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

#[allow(dead_code)] // the tests of hostile clients use more of it
mod gpu;
mod harness;
mod history;

mod bad_files;
mod bench;
mod commands;
mod library;
mod lifecycle;
mod models;
mod online;
mod personas;
mod tls;
mod workers;
