//! The API from outside: requests through the router of a server whose model counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod adapters;
mod agents;
mod answers;
mod anthropic;
mod cases;
mod chat;
mod completions;
mod embeddings;
mod errors;
mod fields;
mod history;
mod lifecycle;
mod management;
mod ollama;
mod page;
mod personas;
mod responses;
mod service;
mod snapshot;
mod spelling;
mod structured;
mod support;
mod sweep;
mod tools;
mod wire;
