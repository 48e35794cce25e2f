//! What this machine can do at most: the roofs that measured speeds are compared with.
//!
//! Other programs and the host change the roofs from minute to minute, so take them in the same run
//! as the figure they are compared with.
#![allow(unsafe_code)] // intrinsics

use std::hint::black_box;
use std::time::Instant;

use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::{AllocError, Context, HugeBuffer, Isa};

/// Multiply-adds a second, over all threads of a context.
#[derive(Clone, Copy, Debug)]
pub struct PeakMacs {
    /// Products of 8-bit integers, summed in 32 bits.
    pub int8: f64,
    /// Products of `f32`.
    pub f32: f64,
}

/// Times a measurement is repeated; the best counts, as disturbances only slow down.
const REPETITIONS: usize = 5;

/// Bytes that a task reads.
const READ: usize = 1 << 20;

/// Bytes a second that the threads read from `bytes` bytes of memory, which should be several times
/// as large as the caches.
///
/// # Errors
/// There is no room for them.
pub fn read_bandwidth(ctx: &Context, bytes: usize) -> Result<f64, AllocError> {
    let mut memory = HugeBuffer::zeroed(bytes.next_multiple_of(READ).max(READ))?;
    memory.as_mut_slice().fill(1);
    let words: &[f32] = bytemuck::cast_slice(&memory);
    let parts: Vec<&[f32]> = words.chunks_exact(READ / size_of::<f32>()).collect();
    let best = best_time(|| {
        ctx.pool().run(parts.len(), &|task| {
            black_box(dispatch(ctx.isa(), Read(parts[task])));
        });
    });
    Ok(memory.len() as f64 / best)
}

/// Multiply-adds a second that the threads do on data in registers.
pub fn peak_macs(ctx: &Context) -> PeakMacs {
    PeakMacs {
        int8: rate(ctx, || int8_macs(ctx.isa())),
        f32: rate(ctx, || dispatch(ctx.isa(), F32Macs)),
    }
}

/// The rate of `work`, which returns how many multiply-adds it did, on all threads at once.
fn rate(ctx: &Context, work: impl Fn() -> usize + Sync) -> f64 {
    /// Tasks for each thread, so that one whose core is taken away does fewer.
    const TASKS: usize = 32;
    let tasks = TASKS * ctx.pool().threads();
    let best = best_time(|| {
        ctx.pool().run(tasks, &|_| {
            black_box(work());
        });
    });
    (work() * tasks) as f64 / best
}

fn best_time(work: impl Fn()) -> f64 {
    let time = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..REPETITIONS)
        .map(|_| time())
        .fold(f64::INFINITY, f64::min)
}

/// Reads all of it.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        for chunk in self.0.as_chunks::<{ 8 * LANES }>().0 {
            for (sum, x) in sums.iter_mut().zip(chunk.as_chunks::<LANES>().0) {
                *sum = simd.add(*sum, simd.load(x));
            }
        }
        sums.iter().map(|sum| simd.sum(*sum)).sum()
    }
}

/// Iterations between two looks at the clock: some microseconds.
const ITERATIONS: usize = 4096;

/// Multiplies and adds; returns how often.
struct F32Macs;

impl Kernel for F32Macs {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (factor, addend) = (simd.splat(black_box(0.5)), simd.splat(black_box(1.0)));
        // Independent chains of dependent operations, as many as a matrix product has.
        let chains = S::TILE[0] * S::TILE[1];
        let mut sums = [simd.splat(0.0); 24];
        for _ in 0..ITERATIONS {
            for sum in &mut sums[..chains] {
                *sum = simd.mul_add(*sum, factor, addend);
            }
        }
        black_box(sums.iter().map(|sum| simd.sum(*sum)).sum::<f32>());
        ITERATIONS * chains * LANES
    }
}

/// Multiplies and adds 8-bit integers; returns how often.
fn int8_macs(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => scalar_int8_macs(),
        // SAFETY: here and below, the capability proves the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => unsafe { x86::avx2_int8_macs() },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => unsafe { x86::avx512_int8_macs() },
    }
}

fn scalar_int8_macs() -> usize {
    let (a, b) = (black_box([3u8; 64]), black_box([5i8; 64]));
    let mut sum = 0;
    for _ in 0..ITERATIONS {
        let products = black_box(&a).iter().zip(&b);
        sum += products
            .map(|(a, b)| i32::from(*a) * i32::from(*b))
            .sum::<i32>();
    }
    black_box(sum);
    ITERATIONS * a.len()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{ITERATIONS, black_box};

    /// Independent chains of dependent operations: latency (4 cycles) times throughput (2 a cycle),
    /// and some to spare.
    const CHAINS: usize = 12;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512_int8_macs() -> usize {
        let (a, b) = (
            _mm512_set1_epi8(black_box(3)),
            _mm512_set1_epi8(black_box(5)),
        );
        let mut sums = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..ITERATIONS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
        ITERATIONS * CHAINS * 64
    }

    /// Without VNNI: multiply to 16 bits, and add there. Kernels widen only after as many products as
    /// fit.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2_int8_macs() -> usize {
        let (a, b) = (
            _mm256_set1_epi8(black_box(3)),
            _mm256_set1_epi8(black_box(5)),
        );
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..ITERATIONS {
            for sum in &mut sums {
                // Products of the sum itself, or they would be computed once.
                *sum = _mm256_add_epi16(a, _mm256_maddubs_epi16(*sum, b));
            }
        }
        black_box(sums);
        ITERATIONS * CHAINS * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contexts;

    #[test]
    fn every_instruction_set_has_plausible_roofs() {
        for ctx in contexts() {
            let bandwidth = read_bandwidth(&ctx, 8 << 20).unwrap();
            let macs = peak_macs(&ctx);
            for rate in [bandwidth, macs.int8, macs.f32] {
                assert!(rate.is_finite() && rate > 1e6, "{bandwidth} {macs:?}");
            }
        }
    }
}
