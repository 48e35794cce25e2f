//! The scales and minima of a strip's block, which stand before its codes.
//!
//! A block is 64 columns of the formats with 32-wide blocks, 256 of the others: so that its bytes
//! are whole cache lines. `[g]` is repeated for each group of 32 columns, `[s]` for each half of a
//! group; each item is 16 numbers, one for each row.
//!
//! ```text
//! Halves              [g] f16 scale                                                             64 B
//! HalvesMinima        [g] f16 scale │ [g] f16 minimum                                          128 B
//! Singles             [g] f32 scale                                                            128 B
//! Bytes<SUBS>         f32 scale │ [g][s] i8 sub-scale                                       64 + 128·SUBS B
//! BytesMinima         f16 scale │ f16 minimum │ [g] u8 sub-scale │ [g] u8 sub-minimum          320 B
//! NibblesMinima       f16 scale │ f16 minimum │ [g][s] sub-minimum·16 + sub-scale              320 B
//! ```
#![allow(unsafe_code)] // vectors

use std::marker::PhantomData;

use half::f16;

use super::block::Block;
use super::codes::STRIP_ROWS as ROWS;
use super::description::StripScales;
use super::number::{HighNibble, LowNibble, Number};
use crate::simd::dots::Dots;

/// Q4_0, Q5_0, Q8_0, IQ4_NL.
pub(crate) type Halves = Plain<f16, false>;
/// Q4_1, Q5_1.
pub(crate) type HalvesMinima = Plain<f16, true>;
/// MXFP4, whose scales are powers of two that a half does not reach.
pub(crate) type Singles = Plain<f32, false>;
/// IQ4_XS and other codebooks with one sub-scale in a group; Q3_K, Q6_K and others with two.
pub(crate) type Bytes<const SUBS: usize> = Nested<f32, SignedBytes<SUBS>>;
/// Q4_K, Q5_K.
pub(crate) type BytesMinima = Nested<f16, BytePairs>;
/// Q2_K.
pub(crate) type NibblesMinima = Nested<f16, NibblePairs>;

/// Where a strip keeps scales and minima, and how.
pub(crate) trait Scales: 'static {
    /// Groups of 32 columns in a block.
    const GROUPS: usize;
    /// Bytes before the codes of a block.
    const BYTES: usize;
    /// Scales of a group: one for 32 columns, or two for 16 each.
    const SUBS: usize;
    /// Whether there are minima.
    const MINIMA: bool;
    /// What it is called outside this crate.
    const LAYOUT: StripScales;

    /// Writes what `block`, the columns from group `group` on, says of `row`.
    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]);
    /// The scale of `row` in half `sub` of `group`.
    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32;
    /// The minimum of `row` in half `sub` of `group`; 0 if there are no minima.
    fn minimum(header: &[u8], group: usize, sub: usize, row: usize) -> f32;

    /// The scales of the rows of `part`; only the first `SUBS` are meaningful.
    ///
    /// # Safety
    /// `header` has [`Scales::BYTES`] bytes.
    unsafe fn scales<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2];
    /// The minima, likewise.
    ///
    /// # Safety
    /// As for [`Scales::scales`].
    unsafe fn minima<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2];
}

/// A type for the scale of a whole block of the file.
pub(crate) trait Factor: Number {
    /// Writes `scale · unit`.
    fn put(scale: f16, unit: f32, out: &mut [u8]);
}

/// For formats whose unit is 1.
impl Factor for f16 {
    fn put(scale: f16, _unit: f32, out: &mut [u8]) {
        out[..2].copy_from_slice(&scale.to_le_bytes());
    }
}

impl Factor for f32 {
    fn put(scale: f16, unit: f32, out: &mut [u8]) {
        out[..4].copy_from_slice(&(scale.to_f32() * unit).to_le_bytes());
    }
}

/// Two groups, each with a scale of its own, and perhaps a minimum.
pub(crate) struct Plain<F, const MINIMA: bool>(PhantomData<fn() -> F>);

impl<F: Factor, const MINIMA: bool> Plain<F, MINIMA> {
    /// Bytes of the scales, after which the minima stand.
    const SCALES: usize = 2 * ROWS * F::BYTES;

    const fn at(group: usize, row: usize) -> usize {
        F::BYTES * (ROWS * group + row)
    }
}

impl<F: Factor, const MINIMA: bool> Scales for Plain<F, MINIMA> {
    const GROUPS: usize = 2;
    const BYTES: usize = Self::SCALES * (1 + MINIMA as usize);
    const SUBS: usize = 1;
    const MINIMA: bool = MINIMA;
    const LAYOUT: StripScales = match (F::BYTES, MINIMA) {
        (2, false) => StripScales::Halves,
        (2, true) => StripScales::HalvesMinima,
        (_, false) => StripScales::Singles,
        (_, true) => panic!("no format has minima of 32 bits"),
    };

    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]) {
        let at = Self::at(group, row);
        F::put(block.scale, block.unit, &mut out[at..]);
        if MINIMA {
            F::put(block.minimum, 1.0, &mut out[Self::SCALES + at..]);
        }
    }

    fn scale(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        F::get(header, Self::at(group, row))
    }

    fn minimum(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        if MINIMA {
            F::get(header, Self::SCALES + Self::at(group, row))
        } else {
            0.0
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [F::load(simd, header.add(Self::at(group, V::ROWS * part))); 2] }
    }

    #[inline(always)]
    unsafe fn minima<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2] {
        if !MINIMA {
            return [simd.splat_rows(0.0); 2];
        }
        // SAFETY: the caller's promise.
        unsafe { Self::scales(simd, header.add(Self::SCALES), group, part) }
    }
}

/// Eight groups with sub-scales of a scale, and perhaps sub-minima of a minimum.
pub(crate) struct Nested<F, P>(PhantomData<fn() -> (F, P)>);

/// How sub-scales and sub-minima are stored.
pub(crate) trait SubScales: 'static {
    /// Of a sub-scale.
    type Scale: Number;
    /// Of a sub-minimum.
    type Minimum: Number;
    /// Sub-scales of a group.
    const SUBS: usize;
    /// How far after the sub-scales the sub-minima stand, if there are any.
    const MINIMA: Option<usize>;
    /// Bytes of all of them.
    const BYTES: usize;
    /// With their scale and minimum.
    const LAYOUT: StripScales;

    /// Writes sub-scale `i` of a row, and its sub-minimum; `out` starts at the sub-scale.
    fn put(block: &Block, i: usize, out: &mut [u8]);
}

/// Signed sub-scales.
pub(crate) struct SignedBytes<const SUBS: usize>;

impl<const SUBS: usize> SubScales for SignedBytes<SUBS> {
    type Scale = i8;
    type Minimum = u8;
    const SUBS: usize = SUBS;
    const MINIMA: Option<usize> = None;
    const BYTES: usize = 8 * ROWS * SUBS;
    const LAYOUT: StripScales = StripScales::Bytes;

    fn put(block: &Block, i: usize, out: &mut [u8]) {
        out[0] = block.sub_scales[i] as u8;
    }
}

/// Unsigned sub-scales, then sub-minima.
pub(crate) struct BytePairs;

impl SubScales for BytePairs {
    type Scale = u8;
    type Minimum = u8;
    const SUBS: usize = 1;
    const MINIMA: Option<usize> = Some(8 * ROWS);
    const BYTES: usize = 2 * 8 * ROWS;
    const LAYOUT: StripScales = StripScales::BytesMinima;

    fn put(block: &Block, i: usize, out: &mut [u8]) {
        out[0] = block.sub_scales[i] as u8;
        out[8 * ROWS] = block.sub_minima[i];
    }
}

/// A sub-scale and a sub-minimum in each byte.
pub(crate) struct NibblePairs;

impl SubScales for NibblePairs {
    type Scale = LowNibble;
    type Minimum = HighNibble;
    const SUBS: usize = 2;
    const MINIMA: Option<usize> = Some(0);
    const BYTES: usize = 2 * 8 * ROWS;
    const LAYOUT: StripScales = StripScales::NibblesMinima;

    fn put(block: &Block, i: usize, out: &mut [u8]) {
        out[0] = block.sub_scales[i] as u8 | block.sub_minima[i] << 4;
    }
}

impl<F: Factor, P: SubScales> Nested<F, P> {
    /// Bytes before the sub-scales: the scales, and after them the minima.
    const FACTORS: usize = ROWS * F::BYTES * (1 + P::MINIMA.is_some() as usize);

    const fn at(group: usize, sub: usize) -> usize {
        Self::FACTORS + ROWS * (P::SUBS * group + sub)
    }

    /// The factors at `factors` times the first and the last numbers of type `N` at `subs`.
    ///
    /// # Safety
    /// Both have as many numbers.
    #[inline(always)]
    unsafe fn products<V: Dots, N: Number>(
        simd: V,
        factors: *const u8,
        subs: *const u8,
    ) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let factors = F::load(simd, factors);
            let first = N::load(simd, subs);
            let last = N::load(simd, subs.add(ROWS * (P::SUBS - 1)));
            [simd.mul_rows(factors, first), simd.mul_rows(factors, last)]
        }
    }
}

impl<F: Factor, P: SubScales> Scales for Nested<F, P> {
    const GROUPS: usize = 8;
    const BYTES: usize = Self::FACTORS + P::BYTES;
    const SUBS: usize = P::SUBS;
    const MINIMA: bool = P::MINIMA.is_some();
    const LAYOUT: StripScales = P::LAYOUT;

    fn pack(block: &Block, _group: usize, row: usize, out: &mut [u8]) {
        F::put(block.scale, block.unit, &mut out[F::BYTES * row..]);
        if Self::MINIMA {
            F::put(block.minimum, 1.0, &mut out[F::BYTES * (ROWS + row)..]);
        }
        for i in 0..8 * P::SUBS {
            P::put(block, i, &mut out[Self::at(0, i) + row..]);
        }
    }

    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        let sub_scale = P::Scale::get(header, Self::at(group, sub) + row);
        F::get(header, F::BYTES * row) * sub_scale
    }

    fn minimum(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        let Some(minima) = P::MINIMA else { return 0.0 };
        let sub_minimum = P::Minimum::get(header, minima + Self::at(group, sub) + row);
        F::get(header, F::BYTES * (ROWS + row)) * sub_minimum
    }

    #[inline(always)]
    unsafe fn scales<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2] {
        let row = V::ROWS * part;
        // SAFETY: the caller's promise.
        unsafe {
            let subs = header.add(Self::at(group, 0) + row);
            Self::products::<V, P::Scale>(simd, header.add(F::BYTES * row), subs)
        }
    }

    #[inline(always)]
    unsafe fn minima<V: Dots>(
        simd: V,
        header: *const u8,
        group: usize,
        part: usize,
    ) -> [V::Floats; 2] {
        let Some(minima) = P::MINIMA else {
            return [simd.splat_rows(0.0); 2];
        };
        let row = V::ROWS * part;
        // SAFETY: the caller's promise.
        unsafe {
            let factors = header.add(F::BYTES * (ROWS + row));
            let subs = header.add(minima + Self::at(group, 0) + row);
            Self::products::<V, P::Minimum>(simd, factors, subs)
        }
    }
}
