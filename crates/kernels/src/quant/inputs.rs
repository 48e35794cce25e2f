//! The inputs of a product, quantised once for all matrices that share them.
//!
//! Each 32 columns become signed bytes with a float scale, `x ≈ scale · code` with `|code| ≤ 127`,
//! in a record that also has what the kernels would otherwise add up again for every strip: the
//! sums of the codes, with which offsets and minima of the weights are applied to all columns at
//! once.
#![allow(unsafe_code)] // vectors

use crate::dispatch::Isa;
use crate::simd::dots::{DotKernel, Dots, GROUP};

/// 32 quantised inputs. 48 bytes, so that rows whose length is a power of two do not fall into the
/// same cache sets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct InputGroup {
    /// In −127..=127; never −128, which the 16-bit sums of AVX2 have no room for.
    pub(crate) codes: [i8; GROUP],
    /// What a code stands for.
    pub(crate) scale: f32,
    /// The sum of the codes. At most 32 · 127, so exact.
    pub(crate) sum: f32,
    /// Minus the sum of the codes.
    pub(crate) negated_sum: i32,
    /// Minus the sum of the first 16 codes.
    pub(crate) negated_half: i32,
}

impl InputGroup {
    /// A group from its codes and the sums of their halves.
    #[inline(always)]
    fn new(codes: [i8; GROUP], scale: f32, sums: [i32; 2]) -> Self {
        Self {
            codes,
            scale,
            sum: (sums[0] + sums[1]) as f32,
            negated_sum: -(sums[0] + sums[1]),
            negated_half: -sums[0],
        }
    }
}

/// The scale of a group, and what to multiply inputs with to get codes; or the whole group, where
/// that is no use.
///
/// `largest` are the bits of the largest input without its sign. Compared as an integer a NaN is
/// the largest of all: it ends up in the scale, and stays visible in the output.
#[inline(always)]
fn scale_and_inverse(largest: u32) -> Result<(f32, f32), InputGroup> {
    let largest = f32::from_bits(largest);
    // Below this the inverse overflows; such inputs are zero for every purpose.
    const TINY: f32 = 1e-36;
    if largest < TINY {
        Err(InputGroup::default())
    } else if largest.is_finite() {
        Ok((largest / 127.0, 127.0 / largest))
    } else {
        Err(InputGroup {
            scale: f32::NAN,
            ..InputGroup::default()
        })
    }
}

/// Quantises one row of inputs; `groups` beyond its end become zeros.
pub(crate) fn quantize(isa: Isa, x: &[f32], groups: &mut [InputGroup]) {
    let (inputs, rest) = x.as_chunks::<GROUP>();
    debug_assert!(
        rest.is_empty(),
        "quantised matrices have whole groups of columns"
    );
    let (groups, padding) = groups.split_at_mut(inputs.len());
    padding.fill(InputGroup::default());
    match isa {
        Isa::Scalar => {
            for (x, group) in inputs.iter().zip(groups) {
                *group = quantize_scalar(x);
            }
        }
        // SAFETY: the kernel asks for nothing.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => unsafe { simd.vectorize(Quantize { inputs, groups }) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => unsafe { simd.vectorize(Quantize { inputs, groups }) },
    }
}

/// The reference.
fn quantize_scalar(x: &[f32; GROUP]) -> InputGroup {
    let largest = x
        .iter()
        .fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
    let (scale, inverse) = match scale_and_inverse(largest) {
        Ok(pair) => pair,
        Err(group) => return group,
    };
    let codes = x.map(|x| (x * inverse).round_ties_even() as i8);
    let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum();
    InputGroup::new(
        codes,
        scale,
        [sum(&codes[..GROUP / 2]), sum(&codes[GROUP / 2..])],
    )
}

struct Quantize<'a> {
    inputs: &'a [[f32; GROUP]],
    groups: &'a mut [InputGroup],
}

impl DotKernel for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<V: Dots>(self, simd: V) {
        for (x, group) in self.inputs.iter().zip(self.groups) {
            *group = match scale_and_inverse(simd.largest_magnitude(x)) {
                Ok((scale, inverse)) => {
                    let (codes, sums) = simd.round(x, inverse);
                    InputGroup::new(codes, scale, sums)
                }
                Err(group) => group,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(group: &InputGroup) -> Vec<f32> {
        group
            .codes
            .iter()
            .map(|&code| group.scale * f32::from(code))
            .collect()
    }

    #[test]
    fn inputs_are_rounded_to_the_nearest_code_on_every_instruction_set() {
        let x: Vec<f32> = (0..96)
            .map(|i| (i as f32 * 0.7).sin() * (1.0 + i as f32))
            .collect();
        let mut scalar = vec![
            InputGroup {
                scale: 7.0,
                ..InputGroup::default()
            };
            4
        ];
        quantize(Isa::Scalar, &x, &mut scalar);
        assert_eq!(scalar[3], InputGroup::default(), "the padding is zeros");
        for (group, x) in scalar.iter().zip(x.chunks_exact(32)) {
            assert_eq!(
                group.codes.iter().map(|code| i32::from(code.abs())).max(),
                Some(127)
            );
            for (back, x) in inputs(group).iter().zip(x) {
                assert!((back - x).abs() <= group.scale * 0.5001, "{back} for {x}");
            }
            let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            assert_eq!(group.negated_half, -sum(&group.codes[..16]));
            assert_eq!(group.negated_sum, -sum(&group.codes));
            assert_eq!(group.sum, sum(&group.codes) as f32);
        }
        for isa in Isa::available() {
            let mut groups = vec![InputGroup::default(); 4];
            quantize(isa, &x, &mut groups);
            assert_eq!(groups, scalar, "{}", isa.name());
        }
    }

    #[test]
    fn zeros_and_the_tiniest_numbers_quantise_to_zero() {
        for value in [0.0, -0.0, 1e-40, -1e-37] {
            let mut groups = [InputGroup::default()];
            quantize(Isa::Scalar, &[value; 32], &mut groups);
            assert_eq!(groups[0], InputGroup::default());
        }
    }

    #[test]
    fn what_is_not_finite_stays_visible_in_the_scale() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[9] = value;
            for isa in Isa::available() {
                let mut groups = [InputGroup::default()];
                quantize(isa, &x, &mut groups);
                assert!(groups[0].scale.is_nan(), "{value} on {}", isa.name());
            }
        }
    }
}
