//! The types that a cache holds numbers in, and how numbers become them.

use half::f16;

use crate::simd::{LANES, Simd};

/// Neighbouring elements of a head that share a scale, in types that have scales: 32, as in Q8_0.
pub(super) const SCALE_GROUP: usize = 32;

/// A type that caches hold.
pub(super) trait CacheElement: bytemuck::Pod + Send + Sync {
    /// Whether an element must be multiplied by the scale of its group. Types without scales take no
    /// room for them.
    const SCALED: bool = false;

    /// Sixteen elements, without their scales.
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F32;

    /// Rounds up to [`SCALE_GROUP`] numbers to elements; returns their scale. Lanes past the last number
    /// become zero, later vectors are left alone.
    fn encode<S: Simd>(simd: S, from: &[f32], to: &mut [[Self; LANES]]) -> f16;
}

/// How many scales a row of `head_dim` elements has.
pub(super) fn groups(head_dim: usize) -> usize {
    head_dim.div_ceil(SCALE_GROUP)
}

/// What a scale is where there are none.
const NO_SCALE: f16 = f16::ONE;

impl CacheElement for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f32; LANES]) -> S::F32 {
        simd.load(from)
    }

    #[inline(always)]
    fn encode<S: Simd>(simd: S, from: &[f32], to: &mut [[f32; LANES]]) -> f16 {
        for (from, to) in from.chunks(LANES).zip(to) {
            simd.store(to, simd.load_partial(from, 0.0));
        }
        NO_SCALE
    }
}

impl CacheElement for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f16; LANES]) -> S::F32 {
        simd.load_f16(from)
    }

    #[inline(always)]
    fn encode<S: Simd>(simd: S, from: &[f32], to: &mut [[f16; LANES]]) -> f16 {
        for (from, to) in from.chunks(LANES).zip(to) {
            simd.store_f16(to, simd.load_partial(from, 0.0));
        }
        NO_SCALE
    }
}

/// Symmetric: ±127 steps of the scale, which is the largest magnitude of the group over 127.
impl CacheElement for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[i8; LANES]) -> S::F32 {
        simd.load_i8(from)
    }

    #[inline(always)]
    fn encode<S: Simd>(_: S, from: &[f32], to: &mut [[i8; LANES]]) -> f16 {
        let largest = from.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let scale = f16::from_f32_const(largest / 127.0);
        // The scale as it is stored, so that its own rounding is not added to that of the numbers.
        let steps = match scale.to_f32_const() {
            0.0 => 0.0,
            scale => 1.0 / scale,
        };
        for (from, to) in from.chunks(LANES).zip(to) {
            *to = [0; LANES];
            for (x, to) in from.iter().zip(to) {
                *to = (x * steps).round_ties_even().clamp(-127.0, 127.0) as i8;
            }
        }
        scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Kernel, dispatch};
    use crate::testing::noise;

    struct RoundTrip<'a>(&'a [f32]);

    impl Kernel for RoundTrip<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = Vec::new();
            for group in self.0.chunks(SCALE_GROUP) {
                let mut vectors = [[0i8; LANES]; SCALE_GROUP / LANES];
                let scale = simd.splat(i8::encode(simd, group, &mut vectors).to_f32());
                let mut lanes = [[0.0; LANES]; SCALE_GROUP / LANES];
                for (vector, lanes) in vectors.iter().zip(&mut lanes) {
                    simd.store(lanes, simd.mul(i8::load(simd, vector), scale));
                }
                out.extend_from_slice(&lanes.as_flattened()[..group.len()]);
            }
            out
        }
    }

    #[test]
    fn eight_bits_are_off_by_half_a_step_at_most() {
        for len in [8, 32, 72, 128] {
            let x = noise(len, len as u64);
            for isa in Isa::available() {
                let y = dispatch(isa, RoundTrip(&x));
                for (x, y) in x.chunks(SCALE_GROUP).zip(y.chunks(SCALE_GROUP)) {
                    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                    // A scale rounded down by half an f16 ULP clamps the largest by as much.
                    let bound = largest * (0.5 / 127.0 + 1.0 / 2048.0);
                    for (x, y) in x.iter().zip(y) {
                        assert!((x - y).abs() <= bound, "{}: {x} became {y}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn all_instruction_sets_read_what_each_wrote() {
        let extremes = [0.0, -0.0, 1e-9, -3.0, 127.0, -127.0, 64.5, f32::NAN];
        let expected = dispatch(Isa::Scalar, RoundTrip(&extremes));
        assert_eq!(expected[..7], [0.0, 0.0, 0.0, -3.0, 127.0, -127.0, 64.0]);
        for isa in Isa::available() {
            assert_eq!(dispatch(isa, RoundTrip(&extremes))[..7], expected[..7]);
        }
    }
}
