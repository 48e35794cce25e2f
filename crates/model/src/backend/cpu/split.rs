//! The input of the head in two parts: see [`Backend::linear_fine`](super::Backend::linear_fine).

use matou_kernels::Context;
use matou_kernels::rows::for_row_parts;

/// Splits rows into two sets that add up to them: first what a signed byte for each element and a
/// scale for each 32 can hold (exactly, so that the kernels' rounding finds nothing left to do),
/// then the rests, of which rounding spoils a two-hundredth as much.
pub(super) fn split_rows(context: &Context, x: &[f32], out: &mut [f32]) {
    /// Columns that share a scale in the kernels.
    const GROUP: usize = 32;
    let (coarse, fine) = out.split_at_mut(x.len());
    let groups = x.len().div_ceil(GROUP);
    let (coarse, fine) = ((coarse, GROUP), (fine, GROUP));
    for_row_parts(context, groups, coarse, fine, |groups, coarse, fine| {
        let groups = x[groups.start * GROUP..]
            .chunks(GROUP)
            .zip(coarse.chunks_mut(GROUP))
            .zip(fine.chunks_mut(GROUP));
        for ((x, coarse), fine) in groups {
            split_group(x, coarse, fine);
        }
    });
}

/// The columns of [`split_rows`] that share a scale.
fn split_group(x: &[f32], coarse: &mut [f32], fine: &mut [f32]) {
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    for ((x, coarse), fine) in x.iter().zip(coarse).zip(fine) {
        let code = (x * inverse).round_ties_even();
        // Zero, and what is too small to have an inverse, is left to the rest.
        *coarse = if code.is_finite() { code * scale } else { 0.0 };
        *fine = x - *coarse;
    }
}

#[cfg(test)]
mod tests {
    use matou_kernels::Isa;

    use super::*;

    #[test]
    fn split_rows_add_up_and_their_first_part_is_made_of_codes() {
        let x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let mut out = vec![f32::NAN; 128];
        split_rows(&Context::new(Isa::Scalar, 1), &x, &mut out);
        let (coarse, fine) = out.split_at(64);
        for (x, (coarse, fine)) in x.chunks(32).zip(coarse.chunks(32).zip(fine.chunks(32))) {
            let scale = x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
            for (x, (coarse, fine)) in x.iter().zip(coarse.iter().zip(fine)) {
                let code = coarse / scale;
                assert!((code - code.round()).abs() < 1e-4, "{code} is no code");
                assert!(fine.abs() <= 0.501 * scale);
                assert_eq!(coarse + fine, *x);
            }
        }
    }

    #[test]
    fn splitting_zeros_gives_zeros() {
        let mut out = vec![f32::NAN; 64];
        split_rows(&Context::new(Isa::Scalar, 1), &[0.0; 32], &mut out);
        assert_eq!(out, [0.0; 64]);
    }

    #[test]
    fn rows_are_split_alike_on_any_number_of_threads() {
        let x: Vec<f32> = (0..100 * 576).map(|i| (i as f32 * 0.37).sin()).collect();
        let split = |threads| {
            let mut out = vec![f32::NAN; 2 * x.len()];
            split_rows(&Context::new(Isa::Scalar, threads), &x, &mut out);
            out
        };
        assert_eq!(split(2), split(1));
        assert_eq!(split(3), split(1));
    }
}
