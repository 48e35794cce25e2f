//! The real server, started as a user starts it, driven by real clients.
//!
//! Most tests run on the catalogue's default model, which is fetched once into the user's cache.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod harness;

mod bad_files;
mod chat;
mod clients;
mod commands;
mod lifecycle;
mod reference;
