//! Sixteen lanes of `f32`, whatever the CPU has: one `zmm`, two `ymm`, or an array.
//!
//! A kernel is written once, over [`Simd`], and compiled for each instruction set by [`dispatch`].
//! Since every instruction set has the same sixteen lanes and every operation rounds once, AVX2 and
//! AVX-512 give the same bits; the scalar path differs only where its multiply-add rounds twice
//! (CPUs without a fused one).
//!
//! The methods are safe because the implementing type is the capability: an [`Avx512`] exists only
//! where `_mm512_add_ps` may run. They must be inlined into the `#[target_feature]` functions of
//! [`dispatch`] to become single instructions, hence `#[inline(always)]` on all that lies between.
//!
//! [`dots`] extends the lanes by what products of weights with 8-bit inputs need.
#![allow(unsafe_code)] // calls functions with target features

use half::f16;

use crate::dispatch::Isa;
#[cfg(target_arch = "x86_64")]
use crate::dispatch::{Avx2, Avx512};

pub(crate) mod dots;
#[cfg(target_arch = "x86_64")]
mod x86;

/// How many lanes a vector has.
pub(crate) const LANES: usize = 16;

/// A computation that can be compiled for any instruction set.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Computes. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs the kernel with the given instruction set.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
        kernel.run(simd)
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
    fn avx512<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
        kernel.run(simd)
    }
    match isa {
        Isa::Scalar => kernel.run(ScalarLanes),
        // SAFETY: the capability proves the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => unsafe { avx2(simd, kernel) },
        // SAFETY: the capability proves the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => unsafe { avx512(simd, kernel) },
    }
}

/// Vectors of sixteen `f32`.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes.
    type F32: Copy;

    /// Rows and columns (in vectors) of the register tile of a matrix product: as many accumulators
    /// as leave registers for a row of operands and a broadcast.
    const TILE: [usize; 2];

    /// Asks for the cache line at `address`, which need not exist, to be brought into L2.
    fn prefetch<T>(self, address: *const T);
    fn splat(self, value: f32) -> Self::F32;
    fn load(self, from: &[f32; LANES]) -> Self::F32;
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32;
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32;
    fn store(self, to: &mut [f32; LANES], value: Self::F32);
    /// Rounds to nearest, ties to even.
    fn store_f16(self, to: &mut [f16; LANES], value: Self::F32);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a · b + c`.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { zero } else { c }`.
    fn zero_where_less(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Adds the low 9 bits of `n`'s representation to the exponent of `a`.
    fn add_to_exponent(self, a: Self::F32, n: Self::F32) -> Self::F32;
    /// A bit for each lane with `a == b`, the first lane lowest.
    fn equal(self, a: Self::F32, b: Self::F32) -> u16;

    /// The largest lane; no lane may be NaN.
    fn largest(self, a: Self::F32) -> f32;

    /// Loads fewer than sixteen values; the other lanes hold `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F32 {
        let mut lanes = [fill; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Stores the first `to.len()` lanes.
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], value: Self::F32) {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, value);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// The sum of the lanes, in pairs at distances 8, 4, 2, 1.
    #[inline(always)]
    fn sum(self, value: Self::F32) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, value);
        for distance in [8, 4, 2, 1] {
            for lane in 0..distance {
                lanes[lane] += lanes[lane + distance];
            }
        }
        lanes[0]
    }
}

/// `exp(x)` to within 1.0 ULP; 0 below -87.33 (where results would be subnormal), 1.6e38 above 88.
///
/// x = n·ln 2 + r with an integer n and |r| ≤ ln 2 / 2; exp(r) = 1 + r + r²·P(r) with P of degree 4,
/// the minimax polynomial for the relative error of exp(r): 3.1e-9, a fortieth of an ULP.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    /// 1.5 · 2^23: adding it rounds to an integer, which then fills the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has 15 bits, so that its product with n is exact.
    const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];
    const P: [f32; 5] = [
        0.499_999_94,
        0.166_665_21,
        0.041_668_39,
        0.008_368_724,
        0.001_381_458_4,
    ];
    let round = simd.splat(ROUND);
    let bounded = simd.min(simd.splat(88.0), x);
    let biased = simd.mul_add(bounded, simd.splat(std::f32::consts::LOG2_E), round);
    let n = simd.sub(biased, round);
    let r = simd.mul_add(n, simd.splat(-LN_2[0]), bounded);
    let r = simd.mul_add(n, simd.splat(-LN_2[1]), r);
    let mut p = simd.splat(P[4]);
    for coefficient in [P[3], P[2], P[1], P[0]] {
        p = simd.mul_add(p, r, simd.splat(coefficient));
    }
    let p = simd.mul_add(simd.mul(r, r), p, r);
    let exp_r = simd.add(p, simd.splat(1.0));
    let scaled = simd.add_to_exponent(exp_r, biased);
    simd.zero_where_less(x, simd.splat(-87.33), scaled)
}

/// 1 / (1 + exp(-x)), to within 2 ULP above -87, and 0 (±1e-38) below.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let one = simd.splat(1.0);
    let exp = exp(simd, simd.sub(simd.splat(0.0), x));
    simd.div(one, simd.add(one, exp))
}

/// As [`Simd::max`].
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Sixteen lanes as an array, for the compiler to make of it what the target has.
#[derive(Clone, Copy)]
pub(crate) struct ScalarLanes;

#[inline(always)]
fn zip(mut a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    // Not `array::from_fn`, which is not always inlined.
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

/// Exact; without branches, so that the compiler can make vectors of it.
#[inline(always)]
fn widen(half: f16) -> f32 {
    /// The exponents' biases differ by 127 − 15.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = u32::from(half.to_bits() & 0x7fff);
    let sign = u32::from(half.to_bits() & 0x8000) << 16;
    // The product is exact for subnormal numbers too; infinities and NaN have the largest exponent.
    let finite = f32::from_bits(magnitude << 13) * REBIAS;
    let special = if magnitude >= 0x7c00 { 0xff << 23 } else { 0 };
    f32::from_bits(finite.to_bits() | special | sign)
}

impl Simd for ScalarLanes {
    type F32 = [f32; LANES];

    const TILE: [usize; 2] = [4, 1];

    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        *from
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32 {
        let mut lanes = [0.0; LANES];
        for (lane, half) in lanes.iter_mut().zip(from) {
            *lane = widen(*half);
        }
        lanes
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32 {
        from.map(f32::from)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], value: Self::F32) {
        *to = value;
    }
    #[inline(always)]
    fn store_f16(self, to: &mut [f16; LANES], value: Self::F32) {
        *to = value.map(f16::from_f32_const);
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // `f32::mul_add` is a library call where the target has no fused instruction.
        const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));
        let mut sum = c;
        for lane in 0..LANES {
            sum[lane] = if FUSED {
                a[lane].mul_add(b[lane], c[lane])
            } else {
                a[lane] * b[lane] + c[lane]
            };
        }
        sum
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, larger)
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn zero_where_less(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        let keep = zip(a, b, |a, b| if a < b { 0.0 } else { 1.0 });
        zip(keep, c, |keep, c| if keep == 0.0 { 0.0 } else { c })
    }
    #[inline(always)]
    fn add_to_exponent(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        zip(a, n, |a, n| {
            f32::from_bits(a.to_bits().wrapping_add(n.to_bits() << 23))
        })
    }
    #[inline(always)]
    fn equal(self, a: Self::F32, b: Self::F32) -> u16 {
        (0..LANES).fold(0, |mask, lane| mask | u16::from(a[lane] == b[lane]) << lane)
    }
    #[inline(always)]
    fn largest(self, a: Self::F32) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, larger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Map<'a, F>(&'a [f32], F);

    trait Lanewise {
        fn apply<S: Simd>(&self, simd: S, x: S::F32) -> S::F32;
    }

    struct Exp;
    impl Lanewise for Exp {
        #[inline(always)]
        fn apply<S: Simd>(&self, simd: S, x: S::F32) -> S::F32 {
            exp(simd, x)
        }
    }

    impl<F: Lanewise> Kernel for Map<'_, F> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = vec![0.0; self.0.len()];
            for (x, out) in self.0.chunks(LANES).zip(out.chunks_mut(LANES)) {
                let y = self.1.apply(simd, simd.load_partial(x, 0.0));
                simd.store_partial(out, y);
            }
            out
        }
    }

    #[test]
    fn exp_is_within_one_ulp() {
        let x: Vec<f32> = (-873_300..=880_000).map(|i| i as f32 * 1e-4).collect();
        for isa in Isa::available() {
            let y = dispatch(isa, Map(&x, Exp));
            for (x, y) in x.iter().zip(y) {
                let exact = f64::from(*x).exp();
                let ulp = f64::from((exact as f32).next_up() - exact as f32);
                let error = (f64::from(y) - exact).abs() / ulp;
                assert!(error <= 1.0, "{}: exp({x}) = {y}, {error} ULP", isa.name());
            }
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        for isa in Isa::available() {
            let x = [f32::NEG_INFINITY, -88.0, f32::MIN, 89.0, f32::INFINITY, 0.0];
            let y = dispatch(isa, Map(&x, Exp));
            assert_eq!(y[..3], [0.0; 3]);
            assert_eq!(y[3], y[4]);
            assert!(y[3] > 1.6e38 && y[3].is_finite());
            assert_eq!(y[5], 1.0);
            assert!(dispatch(isa, Map(&[f32::NAN], Exp))[0].is_nan());
        }
    }

    #[test]
    fn every_f16_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (half, wide) = (f16::from_bits(bits), widen(f16::from_bits(bits)));
            assert!(wide.to_bits() == half.to_f32().to_bits() || wide.is_nan() && half.is_nan());
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avx2_and_avx512_agree_bit_for_bit() {
        let fused = &Isa::available()[1..];
        let x: Vec<f32> = (0..4096).map(|i| (i as f32 * 0.37).sin() * 50.0).collect();
        let y: Vec<_> = fused
            .iter()
            .map(|isa| dispatch(*isa, Map(&x, Exp)))
            .collect();
        assert!(y.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
