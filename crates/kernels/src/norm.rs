//! Root-mean-square normalisation, alone and fused with the residual addition before it.
//!
//! out = x / √(mean(x²) + ε) · weight, row by row (Zhang & Sennrich 2019). The squares of a row are
//! summed in 64 interleaved chains (four vectors of sixteen lanes), then pairwise.

use crate::Context;
use crate::rows::{for_row_part, for_row_parts};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// `out[i] = rms_norm(x[i]) · weight` for each row of `weight.len()` elements.
///
/// # Panics
/// `x` and `out` are not whole rows, or differ in length.
pub fn rms_norm(ctx: &Context, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    let rows = row_count(x, n);
    assert_eq!(x.len(), out.len(), "input and output differ in length");
    for_row_part(ctx, rows, (out, n), |rows, out| {
        let x = &x[rows.start * n..rows.end * n];
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            dispatch(
                ctx.isa(),
                RmsNorm {
                    x,
                    weight,
                    eps,
                    out,
                },
            );
        }
    });
}

/// `residual += delta`, then `out = rms_norm(residual) · weight`, for each row of `weight.len()`
/// elements. The same bits as [`add`](crate::activation::add) and [`rms_norm`] one after the other.
///
/// # Panics
/// The slices are not whole rows, or differ in length.
pub fn add_rms_norm(
    ctx: &Context,
    residual: &mut [f32],
    delta: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    let n = weight.len();
    let rows = row_count(residual, n);
    assert_eq!(residual.len(), delta.len(), "operands differ in length");
    assert_eq!(
        residual.len(),
        out.len(),
        "input and output differ in length"
    );
    for_row_parts(ctx, rows, (residual, n), (out, n), |rows, residual, out| {
        let delta = &delta[rows.start * n..rows.end * n];
        let rows = residual.chunks_exact_mut(n).zip(delta.chunks_exact(n));
        for ((residual, delta), out) in rows.zip(out.chunks_exact_mut(n)) {
            let sum = dispatch(
                ctx.isa(),
                AddAssign {
                    a: residual,
                    b: delta,
                },
            );
            let x = &*sum;
            dispatch(
                ctx.isa(),
                RmsNorm {
                    x,
                    weight,
                    eps,
                    out,
                },
            );
        }
    });
}

/// Norms heads of `weight.len()` elements, each on its own and in place. Row i of `x` starts at
/// `i · row_stride` with `heads` of them; so `x` may be the part of a fused projection that begins
/// with the first query (or key). The same bits as [`rms_norm`] of each head.
///
/// # Panics
/// Rows overlap, or the last one does not hold its heads.
pub fn rms_norm_heads(
    ctx: &Context,
    x: &mut [f32],
    row_stride: usize,
    heads: usize,
    weight: &[f32],
    eps: f32,
) {
    let row = heads * weight.len();
    assert!(row <= row_stride, "rows overlap: {row} > {row_stride}");
    if row == 0 {
        return;
    }
    for_row_part(
        ctx,
        x.len().div_ceil(row_stride),
        (x, row_stride),
        |_, x| {
            for x in x.chunks_mut(row_stride) {
                let x = &mut x[..row];
                dispatch(ctx.isa(), RmsNormInPlace { x, weight, eps });
            }
        },
    );
}

fn row_count(x: &[f32], n: usize) -> usize {
    assert!(n > 0, "rows have no elements");
    assert!(
        x.len().is_multiple_of(n),
        "{} elements are not whole rows of {n}",
        x.len()
    );
    x.len() / n
}

/// One row of [`rms_norm`].
struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scale = inverse_rms(simd, self.x, self.eps);
        let factor = simd.splat(scale);
        let (x, x_tail) = self.x.as_chunks::<LANES>();
        let (weight, weight_tail) = self.weight.as_chunks::<LANES>();
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        for ((x, weight), out) in x.iter().zip(weight).zip(out) {
            let normed = simd.mul(simd.load(x), factor);
            simd.store(out, simd.mul(normed, simd.load(weight)));
        }
        for ((x, weight), out) in x_tail.iter().zip(weight_tail).zip(out_tail) {
            *out = x * scale * weight;
        }
    }
}

/// Neighbouring rows of [`rms_norm`], in place.
struct RmsNormInPlace<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for RmsNormInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (weight, weight_tail) = self.weight.as_chunks::<LANES>();
        for x in self.x.chunks_exact_mut(self.weight.len()) {
            let scale = inverse_rms(simd, x, self.eps);
            let factor = simd.splat(scale);
            let (x, x_tail) = x.as_chunks_mut::<LANES>();
            for (x, weight) in x.iter_mut().zip(weight) {
                let normed = simd.mul(simd.load(x), factor);
                simd.store(x, simd.mul(normed, simd.load(weight)));
            }
            for (x, weight) in x_tail.iter_mut().zip(weight_tail) {
                *x = *x * scale * weight;
            }
        }
    }
}

#[inline(always)]
fn inverse_rms<S: Simd>(simd: S, x: &[f32], eps: f32) -> f32 {
    let mean = sum_of_squares(simd, x) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (quads, rest) = x.as_chunks::<{ 4 * LANES }>();
    let mut sums = [simd.splat(0.0); 4];
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad.as_chunks::<LANES>().0) {
            let x = simd.load(x);
            *sum = simd.mul_add(x, x, *sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest.chunks(LANES)) {
        let x = simd.load_partial(x, 0.0);
        *sum = simd.mul_add(x, x, *sum);
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

/// `a += b`; returns `a`.
pub(crate) struct AddAssign<'a, 'b> {
    pub(crate) a: &'a mut [f32],
    pub(crate) b: &'b [f32],
}

impl<'a> Kernel for AddAssign<'a, '_> {
    type Output = &'a mut [f32];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> &'a mut [f32] {
        for (a, b) in self.a.iter_mut().zip(self.b) {
            *a += b;
        }
        self.a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contexts, noise};

    fn reference(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
        let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let scale = 1.0 / (squares / x.len() as f64 + f64::from(eps)).sqrt();
        let normed = x.iter().map(|x| f64::from(*x) * scale);
        normed.zip(weight).map(|(x, w)| x * f64::from(*w)).collect()
    }

    #[test]
    fn rows_are_normalised_to_a_relative_error_of_1e_6() {
        for n in [1, 8, 16, 63, 64, 576, 1000, 2048, 8192] {
            let (x, weight) = (noise(3 * n, 1), noise(n, 2));
            for ctx in contexts() {
                let mut out = vec![0.0; x.len()];
                rms_norm(&ctx, &x, &weight, 1e-5, &mut out);
                for (x, out) in x.chunks(n).zip(out.chunks(n)) {
                    for (exact, out) in reference(x, &weight, 1e-5).iter().zip(out) {
                        let error = (f64::from(*out) - exact).abs();
                        assert!(error <= 1e-6 * exact.abs() + 1e-30, "{exact} {out}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_zero_row_stays_zero() {
        for ctx in contexts() {
            let mut out = vec![1.0; 64];
            rms_norm(&ctx, &[0.0; 64], &[1.0; 64], 1e-5, &mut out);
            assert_eq!(out, [0.0; 64]);
        }
    }

    #[test]
    fn the_fused_addition_gives_the_bits_of_the_separate_one() {
        let (rows, n) = (70, 576);
        let (residual, delta, weight) = (noise(rows * n, 3), noise(rows * n, 4), noise(n, 5));
        for ctx in contexts() {
            let sum: Vec<f32> = residual.iter().zip(&delta).map(|(a, b)| a + b).collect();
            let mut expected = vec![0.0; rows * n];
            rms_norm(&ctx, &sum, &weight, 1e-6, &mut expected);
            let (mut fused, mut out) = (residual.clone(), vec![0.0; rows * n]);
            add_rms_norm(&ctx, &mut fused, &delta, &weight, 1e-6, &mut out);
            assert_eq!(fused, sum);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn heads_in_place_have_the_bits_of_rows_and_what_is_beside_them_is_left_alone() {
        for (heads, len, gap, rows) in [(16, 128, 2048, 40), (1, 256, 3, 200), (3, 72, 0, 5)] {
            let stride = heads * len + gap;
            let (x, weight) = (noise(rows * stride, 8), noise(len, 9));
            // From the second head on, as keys lie behind queries.
            let (first, heads) = (len, heads - 1);
            for ctx in contexts() {
                let mut expected = x.clone();
                for row in expected.chunks_mut(stride) {
                    let row = &mut row[first..][..heads * len];
                    let before = row.to_vec();
                    rms_norm(&ctx, &before, &weight, 1e-6, row);
                }
                let mut out = x.clone();
                rms_norm_heads(&ctx, &mut out[first..], stride, heads, &weight, 1e-6);
                assert_eq!(out, expected);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (rows, n) = (100, 576);
        let (x, weight) = (noise(rows * n, 6), noise(n, 7));
        for ctx in contexts() {
            let mut all = vec![0.0; rows * n];
            rms_norm(&ctx, &x, &weight, 1e-5, &mut all);
            for (x, all) in x.chunks(n).zip(all.chunks(n)) {
                let mut one = vec![0.0; n];
                rms_norm(&ctx, x, &weight, 1e-5, &mut one);
                assert_eq!(one, all);
            }
        }
    }
}
