//! Test support shared by every crate: fixtures, reference data, a scripted model.
//!
//! Only ever a dev-dependency.

pub mod scripted;
#[cfg(feature = "llm")]
pub mod speller;

use std::path::PathBuf;

use matou_model::{DeviceChoice, gpus};

/// The folder of reference data that the tests of all crates share.
pub fn fixtures_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}

/// A GPU to test on; any Vulkan device will do, such as Mesa's software one. `None`, with a word about it,
/// where there is none.
///
/// # Panics
/// There is none, and `MATOU_REQUIRE_GPU` says that there must be one.
pub fn gpu() -> Option<DeviceChoice> {
    let gpu = gpus().first().map(|gpu| DeviceChoice::Gpu(Some(gpu.index)));
    if gpu.is_none() {
        assert!(
            std::env::var_os("MATOU_REQUIRE_GPU").is_none(),
            "MATOU_REQUIRE_GPU is set, and there is no Vulkan device"
        );
        eprintln!("there is no Vulkan device: what runs on one was not tested");
    }
    gpu
}
