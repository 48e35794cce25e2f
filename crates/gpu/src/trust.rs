//! Whether a device computes what it should: a product and an attention, held against the CPU's kernels
//! before any answer depends on them.

use matou_kernels::attention::{
    AttentionParams, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};
use matou_kernels::{Context, Format, PackedMatrix, matmul};

use crate::attention::{AttentionStep, KvCache};
use crate::device::Device;
use crate::error::GpuError;
use crate::stream::Stream;

/// Largest difference, as a share of the largest value: some hundred times what the order of sums makes of
/// it, and far below what a wrong kernel does.
const TOLERANCE: f32 = 1e-3;

impl Device {
    /// Computes a product and an attention on this device and on the CPU, once for each opened device.
    ///
    /// # Errors
    /// If they differ, or the device fails.
    pub fn check_against(&self, host: &Context) -> Result<(), GpuError> {
        self.trust(|| {
            let stream = self.stream();
            let (actual, expected) = product(&stream, host)?;
            self.compare("a product", &actual, &expected)?;
            let (actual, expected) = attention(&stream, host)?;
            self.compare("attention", &actual, &expected)
        })
    }

    fn compare(&self, what: &str, actual: &[f32], expected: &[f32]) -> Result<(), GpuError> {
        match first_difference(actual, expected) {
            None => Ok(()),
            Some(at) => Err(GpuError::Wrong {
                device: self.name().to_owned(),
                what: what.to_owned(),
                actual: actual[at].to_string(),
                expected: expected[at].to_string(),
            }),
        }
    }
}

/// Where two results are not close.
fn first_difference(actual: &[f32], expected: &[f32]) -> Option<usize> {
    let largest = expected
        .iter()
        .fold(0.0f32, |largest, x| largest.max(x.abs()));
    // What is not a number is close to none.
    let is_close = |(a, e): (&f32, &f32)| (a - e).abs() <= TOLERANCE * largest;
    let mut pairs = actual.iter().zip(expected);
    pairs.position(|pair| !is_close(pair))
}

/// Numbers between −1 and 1 without a pattern.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        // A linear congruential generator (Numerical Recipes, ranqd1).
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Of three rows with a matrix of 4-bit weights, on the device and on the CPU.
fn product(stream: &Stream, host: &Context) -> Result<(Vec<f32>, Vec<f32>), GpuError> {
    let (rows, columns, tokens) = (40, 256, 3);
    // A scale of one half, then codes.
    let block = |i: usize| {
        let codes = (0..16).map(move |j| (i * 37 + j * 101) as u8);
        [0x00, 0x38].into_iter().chain(codes)
    };
    let bytes: Vec<u8> = (0..rows * columns / 32).flat_map(block).collect();
    let matrix =
        PackedMatrix::pack(host, Format::Q4_0, rows, columns, &bytes).map_err(|error| {
            GpuError::Failed {
                device: stream.device().name().to_owned(),
                message: error.to_string(),
            }
        })?;
    let x = numbers(tokens * columns, 1);
    let mut expected = vec![0.0; tokens * rows];
    matmul(host, &[&matrix], &x, &mut expected);
    let weight = stream.matrix(&[&matrix])?;
    let x = stream.upload(&x, tokens, columns)?;
    let y = stream.linear(&weight, &x, None)?;
    Ok((stream.read(&y)?, expected))
}

/// Of twenty tokens, two heads to one of keys and values, on the device and on the CPU.
fn attention(stream: &Stream, host: &Context) -> Result<(Vec<f32>, Vec<f32>), GpuError> {
    let (tokens, head_dim) = (20u32, 64);
    let params = AttentionParams {
        heads: 2,
        kv_heads: 1,
        head_dim,
        scale: 0.125,
        sliding_window: None,
        softcap: None,
    };
    let stride = 4 * head_dim;
    let qkv = numbers(tokens as usize * stride, 2);
    let blocks = [1, 0];
    let places: Vec<u32> = (0..tokens).collect();
    let slots: Vec<u32> = places
        .iter()
        .map(|place| blocks[*place as usize / 16] * 16 + place % 16)
        .collect();
    let paged = PagedBatch {
        query_start_loc: &[0, tokens],
        seq_lens: &[tokens],
        block_tables: &blocks,
        block_table_start: &[0, 2],
    };
    let mut pool = KvPool::new(2, 1, head_dim, KvDtype::F32).map_err(|error| GpuError::Failed {
        device: stream.device().name().to_owned(),
        message: error.to_string(),
    })?;
    let part = |first: usize| Rows {
        data: &qkv[first..],
        stride,
    };
    pool.write(host, &slots, part(2 * head_dim), part(3 * head_dim));
    let mut expected = vec![0.0; tokens as usize * 2 * head_dim];
    paged_attention(host, &params, part(0), &pool, &paged, &mut expected);

    let cache = KvCache::new(stream, 1, 2, 1, head_dim, KvDtype::F32)?;
    let step = AttentionStep::new(
        stream,
        paged.query_start_loc,
        paged.seq_lens,
        paged.block_tables,
        paged.block_table_start,
        &places,
        &slots,
    )?;
    let qkv = stream.upload(&qkv, tokens as usize, stride)?;
    let attended = stream.attend(&cache, 0, &params, &qkv, &step)?;
    Ok((stream.read(&attended)?, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_close_or_not_a_number_differs() {
        assert_eq!(first_difference(&[1.0, 2.001], &[1.0, 2.0]), None);
        assert_eq!(first_difference(&[1.0, 2.01], &[1.0, 2.0]), Some(1));
        assert_eq!(first_difference(&[f32::NAN, 2.0], &[1.0, 2.0]), Some(0));
        assert_eq!(first_difference(&[0.0, 1e-9], &[0.0, 0.0]), Some(1));
    }
}
