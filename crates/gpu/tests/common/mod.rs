//! What the tests of kernels share.
#![allow(dead_code)] // each test file uses a part

use matou_gpu::{Device, Stream};

/// Device 0. Without one the test has nothing to run on: it says so and returns, unless
/// `MATOU_REQUIRE_GPU` says that there must be one.
pub(crate) fn device() -> Option<Device> {
    match Device::open(0) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("MATOU_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("no GPU device: kernels on the GPU were not tested ({error})");
            None
        }
    }
}

/// A stream of device 0, if there is one.
pub(crate) fn stream() -> Option<Stream> {
    device().map(|device| device.stream())
}

/// `count` numbers between −1 and 1 that look random; other numbers for another seed.
pub(crate) fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..count)
        .map(|_| next() as i32 as f32 / i32::MAX as f32)
        .collect()
}

/// Asserts that two results are the same bits (and names the first that is not).
#[track_caller]
pub(crate) fn assert_same_bits(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let differs = actual
        .iter()
        .zip(expected)
        .position(|(a, b)| a.to_bits() != b.to_bits());
    if let Some(at) = differs {
        panic!(
            "{what}: element {at} is {:e}, not {:e}",
            actual[at], expected[at]
        );
    }
}
