//! `matou`: a local LLM inference server.

fn main() {}
