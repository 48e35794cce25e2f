//! Test support shared by every crate: fixtures, reference data, a scripted model.
//!
//! Only ever a dev-dependency.

pub mod scripted;
#[cfg(feature = "llm")]
pub mod speller;

use std::path::PathBuf;

/// The folder of reference data that the tests of all crates share.
pub fn fixtures_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}
