//! What is known of a query on the way through its context: the sums of its weights and weighted
//! values so far, relative to the largest score so far.

use crate::simd::{Kernel, LANES, Simd, exp};

/// Vectors that come before the weighted sum in a query's state: the sum of weights (lane by lane
/// until its split is done, then in lane 0), and the maximum (in lane 0).
pub(super) const STATE_HEAD: usize = 2;

pub(super) const WEIGHT_SUM: usize = 0;
pub(super) const MAXIMUM: usize = 1;

/// Merges the states of a later split into those of all splits before it.
pub(super) struct Merge<'a> {
    pub(super) total: &'a mut [[f32; LANES]],
    pub(super) split: &'a [[f32; LANES]],
    pub(super) state_row: usize,
}

impl Merge<'_> {
    /// The state before the first split, which merging replaces by that of the split, bit for bit.
    pub(super) fn reset(total: &mut [[f32; LANES]], state_row: usize) {
        total.fill([0.0; LANES]);
        for total in total.chunks_exact_mut(state_row) {
            total[MAXIMUM][0] = f32::NEG_INFINITY;
        }
    }
}

impl Kernel for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let totals = self.total.chunks_exact_mut(self.state_row);
        for (total, split) in totals.zip(self.split.chunks_exact(self.state_row)) {
            if split[WEIGHT_SUM][0] == 0.0 {
                continue; // This query attended to nothing in the split.
            }
            let maxima = [total[MAXIMUM][0], split[MAXIMUM][0]];
            let maximum = maxima[0].max(maxima[1]);
            let factor_total = exp(simd, simd.splat(maxima[0] - maximum));
            let factor_split = exp(simd, simd.splat(maxima[1] - maximum));
            for (total, split) in total.iter_mut().zip(split) {
                let kept = simd.mul(simd.load(total), factor_total);
                simd.store(total, simd.mul_add(simd.load(split), factor_split, kept));
            }
            total[MAXIMUM][0] = maximum;
        }
    }
}

/// The result of a query: its weighted sum over its sum of weights.
pub(super) fn finish(state: &[[f32; LANES]], out: &mut [f32]) {
    let sum = state[WEIGHT_SUM][0];
    for (out, x) in out.iter_mut().zip(state[STATE_HEAD..].as_flattened()) {
        *out = x / sum;
    }
}
