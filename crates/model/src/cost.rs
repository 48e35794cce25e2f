//! What a step costs at least, and what the machine can do at most: the quotient says how much of
//! the machine is used.

use std::iter::Sum;
use std::ops::{Add, Mul};

use matou_kernels::Context;
use matou_kernels::bandwidth::{peak_macs, read_bandwidth};

/// The cost of products with some weights, for one token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightCost {
    /// Bytes of weights read, however many tokens share them.
    pub bytes: u64,
    /// Multiply-adds.
    pub macs: u64,
}

impl Add for WeightCost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            macs: self.macs + other.macs,
        }
    }
}

impl Mul<u64> for WeightCost {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self {
            bytes: self.bytes * times,
            macs: self.macs * times,
        }
    }
}

impl Sum for WeightCost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// What one token costs, without attention to its context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCost {
    /// All layers. Of sparse experts, as many as a token chooses.
    pub layers: WeightCost,
    /// The vocabulary head, which only tokens with logits pass.
    pub head: WeightCost,
}

/// What the machine can do at most, with the threads and instructions of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofs {
    /// Bytes a second read from memory.
    pub read_bandwidth: f64,
    /// Multiply-adds a second of 8-bit integers, which quantised weights are multiplied with.
    pub int8_macs: f64,
    /// Multiply-adds a second of floats.
    pub f32_macs: f64,
}

impl Roofs {
    /// Memory that is read to measure the bandwidth: several times as much as caches hold.
    const READ: usize = 256 << 20;

    /// Measures the CPU now, for about a tenth of a second: other programs and the host change the roofs
    /// from minute to minute. `None` where there is no memory for it.
    pub(crate) fn of_cpu(context: &Context) -> Option<Self> {
        let read_bandwidth = read_bandwidth(context, Self::READ).ok()?;
        let peak = peak_macs(context);
        Some(Self {
            read_bandwidth,
            int8_macs: peak.int8,
            f32_macs: peak.f32,
        })
    }
}
