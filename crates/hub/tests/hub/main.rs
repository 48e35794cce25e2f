//! The crate from outside: models by name, path and repository, from a hub and a package folder on
//! this machine.

// A helper of a test that cannot go on has nobody to report to.
#![allow(clippy::unwrap_used)]

mod download;
mod online_pip;
mod quantization;
mod sources;
mod support;
