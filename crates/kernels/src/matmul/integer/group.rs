//! One group of 32 columns: weights unpacked, and multiplied with inputs.
#![allow(unsafe_code)] // vectors

use crate::quant::codes::Codes;
use crate::quant::inputs::InputGroup;
use crate::quant::scales::Scales;
use crate::simd::dots::Dots;

/// A group of weights, unpacked: 32 columns of [`Dots::ROWS`] rows.
pub(super) struct Weights<V: Dots> {
    values: [V::Bytes; 8],
    scales: [V::Floats; 2],
    minima: [V::Floats; 2],
}

impl<V: Dots> Weights<V> {
    /// # Safety
    /// `block` is a block packed as `Strip<C, S>`.
    #[inline(always)]
    pub(super) unsafe fn unpack<C: Codes, S: Scales>(
        simd: V,
        block: *const u8,
        group: usize,
        part: usize,
    ) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                values: C::unpack(simd, block.add(S::BYTES + group * C::GROUP_BYTES), part),
                scales: S::scales(simd, block, group, part),
                minima: S::minima(simd, block, group, part),
            }
        }
    }
}

/// One group of `COLUMNS` vectors of weights times `T` rows of inputs.
///
/// # Safety
/// `x` point to groups.
#[inline(always)]
pub(super) unsafe fn accumulate<
    V: Dots,
    C: Codes,
    S: Scales,
    const COLUMNS: usize,
    const T: usize,
>(
    simd: V,
    weights: [&Weights<V>; COLUMNS],
    x: [*const InputGroup; T],
    sums: &mut [[V::Floats; T]; COLUMNS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut codes = [std::ptr::null(); T];
        let mut starts = [simd.splat_int(0); T];
        let mut values: [&[V::Bytes]; COLUMNS] = [&[]; COLUMNS];
        // The whole group, or its first half.
        for t in 0..T {
            codes[t] = (*x[t]).codes.as_ptr();
            let negated = if S::SUBS == 1 {
                (*x[t]).negated_sum
            } else {
                (*x[t]).negated_half
            };
            starts[t] = simd.splat_int(C::OFFSET * negated);
        }
        for c in 0..COLUMNS {
            values[c] = &weights[c].values[..8 / S::SUBS];
        }
        let dots = simd.dot::<C, COLUMNS, T>(values, codes, starts);
        let mut scaled = *sums;
        for c in 0..COLUMNS {
            for t in 0..T {
                scaled[c][t] = simd.mul_rows(simd.to_floats(dots[c][t]), weights[c].scales[0]);
            }
        }
        if S::SUBS == 2 {
            for t in 0..T {
                codes[t] = codes[t].add(16);
                let negated = (*x[t]).negated_sum - (*x[t]).negated_half;
                starts[t] = simd.splat_int(C::OFFSET * negated);
            }
            for c in 0..COLUMNS {
                values[c] = &weights[c].values[4..];
            }
            let dots = simd.dot::<C, COLUMNS, T>(values, codes, starts);
            for c in 0..COLUMNS {
                for t in 0..T {
                    scaled[c][t] = simd.mul_add_rows(
                        simd.to_floats(dots[c][t]),
                        weights[c].scales[1],
                        scaled[c][t],
                    );
                }
            }
        }
        for c in 0..COLUMNS {
            for t in 0..T {
                let x = &*x[t];
                let mut scaled = scaled[c][t];
                if S::MINIMA && S::SUBS == 1 {
                    scaled =
                        simd.mul_add_rows(weights[c].minima[0], simd.splat_rows(x.sum), scaled);
                } else if S::MINIMA {
                    let half = -x.negated_half as f32;
                    scaled = simd.mul_add_rows(weights[c].minima[0], simd.splat_rows(half), scaled);
                    scaled = simd.mul_add_rows(
                        weights[c].minima[1],
                        simd.splat_rows(x.sum - half),
                        scaled,
                    );
                }
                sums[c][t] = simd.mul_add_rows(scaled, simd.splat_rows(x.scale), sums[c][t]);
            }
        }
    }
}
