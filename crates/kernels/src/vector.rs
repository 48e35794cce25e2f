//! Operations on one long row, such as the logits over a vocabulary, for sampling.
//!
//! They run in the calling thread: at 128k entries a pass takes some microseconds, and the row is
//! usually still in the cache.

use crate::Isa;
use crate::activation::Scale;
use crate::simd::{Kernel, LANES, Simd, dispatch, exp};

/// The index of the largest element: the first of equals, never a NaN. 0 if there is none.
pub fn argmax(isa: Isa, x: &[f32]) -> usize {
    let max = dispatch(isa, Max(x));
    dispatch(isa, Find { x, value: max }).unwrap_or(0)
}

/// The largest element that is not NaN; -∞ if there is none.
pub fn max(isa: Isa, x: &[f32]) -> f32 {
    dispatch(isa, Max(x))
}

/// `x[i] *= factor`.
pub fn scale(isa: Isa, x: &mut [f32], factor: f32) {
    dispatch(isa, Scale { x, factor });
}

/// The sum of `exp(x[i] − max)`, to a relative error of about 1e-6.
pub fn sum_exp(isa: Isa, x: &[f32], max: f32) -> f32 {
    dispatch(isa, SumExp { x, max }) as f32
}

/// `ln Σ exp(x[i])`; -∞ for an empty row or one of -∞.
pub fn log_sum_exp(isa: Isa, x: &[f32]) -> f32 {
    let max = max(isa, x);
    if max == f32::NEG_INFINITY {
        return max;
    }
    let sum = dispatch(isa, SumExp { x, max });
    (f64::from(max) + sum.ln()) as f32
}

/// `x[i] = exp(x[i]) / Σ exp(x)`. A row of -∞ becomes NaN: it has no distribution.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    let max = dispatch(isa, Max(x));
    let sum = dispatch(isa, ExpInPlace { x, max });
    let factor = (1.0 / sum) as f32;
    dispatch(isa, Scale { x, factor });
}

struct Max<'a>(&'a [f32]);

impl Kernel for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let lowest = simd.splat(f32::NEG_INFINITY);
        let mut largest = [lowest; 4];
        let (quads, rest) = self.0.as_chunks::<{ 4 * LANES }>();
        for quad in quads {
            for (largest, x) in largest.iter_mut().zip(quad.as_chunks::<LANES>().0) {
                // The second operand wins where either is NaN, and it never is.
                *largest = simd.max(simd.load(x), *largest);
            }
        }
        for x in rest.chunks(LANES) {
            let x = simd.load_partial(x, f32::NEG_INFINITY);
            largest[0] = simd.max(x, largest[0]);
        }
        let pairs = [
            simd.max(largest[0], largest[1]),
            simd.max(largest[2], largest[3]),
        ];
        simd.largest(simd.max(pairs[0], pairs[1]))
    }
}

/// The first index of a value.
struct Find<'a> {
    x: &'a [f32],
    value: f32,
}

impl Kernel for Find<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<usize> {
        let value = simd.splat(self.value);
        let (chunks, tail) = self.x.as_chunks::<LANES>();
        for (i, chunk) in chunks.iter().enumerate() {
            let equal = simd.equal(simd.load(chunk), value);
            if equal != 0 {
                return Some(i * LANES + equal.trailing_zeros() as usize);
            }
        }
        let in_tail = tail.iter().position(|x| *x == self.value);
        in_tail.map(|i| chunks.len() * LANES + i)
    }
}

/// Elements whose exponentials are summed in f32 lanes (64 to a lane) before f64 takes over.
const SUM_BLOCK: usize = 1024;

struct SumExp<'a> {
    x: &'a [f32],
    max: f32,
}

impl Kernel for SumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let max = simd.splat(self.max);
        let mut total = 0.0;
        for block in self.x.chunks(SUM_BLOCK) {
            let mut sum = simd.splat(0.0);
            let (chunks, tail) = block.as_chunks::<LANES>();
            for x in chunks {
                sum = simd.add(sum, exp(simd, simd.sub(simd.load(x), max)));
            }
            let tail = simd.load_partial(tail, f32::NEG_INFINITY);
            sum = simd.add(sum, exp(simd, simd.sub(tail, max)));
            total += f64::from(simd.sum(sum));
        }
        total
    }
}

/// `x[i] = exp(x[i] − max)`; returns the sum.
struct ExpInPlace<'a> {
    x: &'a mut [f32],
    max: f32,
}

impl Kernel for ExpInPlace<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let max = simd.splat(self.max);
        let mut total = 0.0;
        for block in self.x.chunks_mut(SUM_BLOCK) {
            let mut sum = simd.splat(0.0);
            let (chunks, tail) = block.as_chunks_mut::<LANES>();
            for x in chunks {
                let y = exp(simd, simd.sub(simd.load(x), max));
                simd.store(x, y);
                sum = simd.add(sum, y);
            }
            let padded = simd.load_partial(tail, f32::NEG_INFINITY);
            let y = exp(simd, simd.sub(padded, max));
            simd.store_partial(tail, y);
            total += f64::from(simd.sum(simd.add(sum, y)));
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    const LENGTHS: [usize; 8] = [1, 15, 16, 17, 64, 1023, 32_000, 128_256];

    #[test]
    fn argmax_finds_the_first_of_equals_and_never_a_nan() {
        for isa in Isa::available() {
            for n in LENGTHS {
                let mut x = noise(n, n as u64);
                for i in [n - 1, n / 2, n / 3] {
                    x[i] = 9.0;
                    assert_eq!(argmax(isa, &x), i);
                }
                x[0] = f32::NAN;
                x[n / 4] = f32::NAN;
                let expected = x.iter().position(|x| *x == 9.0).unwrap_or(0);
                assert_eq!(argmax(isa, &x), expected);
            }
            assert_eq!(argmax(isa, &[]), 0);
            assert_eq!(argmax(isa, &[f32::NAN; 40]), 0);
            let mut x = [f32::NAN; 40];
            x[33] = f32::NEG_INFINITY;
            assert_eq!(argmax(isa, &x), 33);
            assert!(dispatch(isa, Max(&[f32::NAN; 40])) == f32::NEG_INFINITY);
        }
    }

    #[test]
    fn sums_of_exponentials_are_accurate_over_a_whole_vocabulary() {
        for isa in Isa::available() {
            for n in LENGTHS {
                let x = noise(n, 3);
                let max = dispatch(isa, Max(&x));
                let exact: f64 = x.iter().map(|x| f64::from(x - max).exp()).sum();
                let sum = dispatch(isa, SumExp { x: &x, max });
                assert!((sum / exact - 1.0).abs() < 1e-6, "{sum} is not {exact}");
                let mut y = x.clone();
                let in_place = dispatch(isa, ExpInPlace { x: &mut y, max });
                assert_eq!(in_place, sum);
                for (x, y) in x.iter().zip(y) {
                    assert!((f64::from(y) / f64::from(x - max).exp() - 1.0).abs() < 2e-7);
                }
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_and_log_sum_exp_to_its_logarithm() {
        for isa in Isa::available() {
            let mut x = noise(32_003, 5);
            x[7] = f32::NEG_INFINITY;
            let exact: f64 = x.iter().map(|x| f64::from(*x).exp()).sum();
            assert!((f64::from(log_sum_exp(isa, &x)) - exact.ln()).abs() < 1e-6);
            let max = max(isa, &x);
            assert!((f64::from(sum_exp(isa, &x, max)) / exact).ln() + f64::from(max) < 1e-6);
            softmax(isa, &mut x);
            assert_eq!(x[7], 0.0);
            assert!((x.iter().map(|x| f64::from(*x)).sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn rows_without_a_finite_element_have_no_sum() {
        for isa in Isa::available() {
            assert_eq!(log_sum_exp(isa, &[]), f32::NEG_INFINITY);
            assert_eq!(
                log_sum_exp(isa, &[f32::NEG_INFINITY; 20]),
                f32::NEG_INFINITY
            );
        }
    }

    #[test]
    fn scaling_multiplies_every_element() {
        for isa in Isa::available() {
            let mut x = noise(100, 8);
            let expected: Vec<f32> = x.iter().map(|x| x * 0.7).collect();
            scale(isa, &mut x, 0.7);
            assert_eq!(x, expected);
        }
    }
}
