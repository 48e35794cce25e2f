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

use super::{Block, half_at};
use crate::matmul::simd::Simd;

/// Rows of a strip.
const ROWS: usize = super::STRIP_ROWS;

/// Where a strip keeps scales and minima, and how.
pub(crate) trait Scales {
    /// Groups of 32 columns in a block.
    const GROUPS: usize;
    /// Bytes before the codes of a block.
    const BYTES: usize;
    /// Scales of a group: one for 32 columns, or two for 16 each.
    const SUBS: usize;
    /// Whether there are minima.
    const MINIMA: bool;

    /// Writes what `block`, the columns from group `group` on, says of `row`.
    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]);
    /// The scale of `row` in half `sub` of `group`.
    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32;
    /// The minimum of `row` in half `sub` of `group`, if there are minima.
    fn minimum(header: &[u8], group: usize, sub: usize, row: usize) -> f32;

    /// The scales of the rows of `part`; only the first `SUBS` are meaningful.
    ///
    /// # Safety
    /// `header` has [`Scales::BYTES`] bytes; the instructions of `V` exist.
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2];
    /// The minima, likewise.
    ///
    /// # Safety
    /// As for [`Scales::scales`].
    unsafe fn minima<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2];
}

/// Q4_0, Q5_0, Q8_0, IQ4_NL.
pub(crate) struct Halves;

impl Scales for Halves {
    const GROUPS: usize = 2;
    const BYTES: usize = 64;
    const SUBS: usize = 1;
    const MINIMA: bool = false;

    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]) {
        let at = 2 * (ROWS * group + row);
        out[at..at + 2].copy_from_slice(&block.scale.to_le_bytes());
    }

    fn scale(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        half_at(header, 2 * (ROWS * group + row)).to_f32()
    }

    fn minimum(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [V::load_f16(header.add(2 * (ROWS * group + V::ROWS * part))); 2] }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(_: *const u8, _: usize, _: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [V::splat(0.0); 2] }
    }
}

/// Q4_1, Q5_1.
pub(crate) struct HalvesMinima;

impl Scales for HalvesMinima {
    const GROUPS: usize = 2;
    const BYTES: usize = 128;
    const SUBS: usize = 1;
    const MINIMA: bool = true;

    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]) {
        Halves::pack(block, group, row, out);
        let at = 64 + 2 * (ROWS * group + row);
        out[at..at + 2].copy_from_slice(&block.minimum.to_le_bytes());
    }

    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        Halves::scale(header, group, sub, row)
    }

    fn minimum(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        Halves::scale(&header[64..], group, sub, row)
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { Halves::scales::<V>(header, group, part) }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { Halves::scales::<V>(header.add(64), group, part) }
    }
}

/// MXFP4, whose scales are powers of two that a half does not reach.
pub(crate) struct Singles;

impl Scales for Singles {
    const GROUPS: usize = 2;
    const BYTES: usize = 128;
    const SUBS: usize = 1;
    const MINIMA: bool = false;

    fn pack(block: &Block, group: usize, row: usize, out: &mut [u8]) {
        let at = 4 * (ROWS * group + row);
        let scale = block.scale.to_f32() * block.unit;
        out[at..at + 4].copy_from_slice(&scale.to_le_bytes());
    }

    fn scale(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        let scale = header[4 * (ROWS * group + row)..]
            .first_chunk()
            .expect("a block's header is whole");
        f32::from_le_bytes(*scale)
    }

    fn minimum(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [V::load_f32(header.add(4 * (ROWS * group + V::ROWS * part))); 2] }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(_: *const u8, _: usize, _: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [V::splat(0.0); 2] }
    }
}

/// IQ4_XS and other codebooks with one sub-scale in a group; Q3_K, Q6_K and others with two.
pub(crate) struct Bytes<const SUBS: usize>;

impl<const SUBS: usize> Bytes<SUBS> {
    const fn at(group: usize, sub: usize) -> usize {
        64 + ROWS * (SUBS * group + sub)
    }
}

impl<const SUBS: usize> Scales for Bytes<SUBS> {
    const GROUPS: usize = 8;
    const BYTES: usize = 64 + 8 * ROWS * SUBS;
    const SUBS: usize = SUBS;
    const MINIMA: bool = false;

    fn pack(block: &Block, _group: usize, row: usize, out: &mut [u8]) {
        let scale = block.scale.to_f32() * block.unit;
        out[4 * row..4 * row + 4].copy_from_slice(&scale.to_le_bytes());
        for (i, &scale) in block.sub_scales[..8 * SUBS].iter().enumerate() {
            out[Self::at(0, i) + row] = scale as u8;
        }
    }

    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        let scale = header[4 * row..]
            .first_chunk()
            .expect("a block's header is whole");
        f32::from_le_bytes(*scale) * f32::from(header[Self::at(group, sub) + row] as i8)
    }

    fn minimum(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let row = V::ROWS * part;
            let scale = V::load_f32(header.add(4 * row));
            let first = V::load_i8(header.add(Self::at(group, 0) + row));
            let last = V::load_i8(header.add(Self::at(group, SUBS - 1) + row));
            [V::mul(scale, first), V::mul(scale, last)]
        }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(_: *const u8, _: usize, _: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe { [V::splat(0.0); 2] }
    }
}

/// Q4_K, Q5_K.
pub(crate) struct BytesMinima;

impl Scales for BytesMinima {
    const GROUPS: usize = 8;
    const BYTES: usize = 64 + 2 * 8 * ROWS;
    const SUBS: usize = 1;
    const MINIMA: bool = true;

    fn pack(block: &Block, _group: usize, row: usize, out: &mut [u8]) {
        pack_half_pair(block, row, out);
        for group in 0..8 {
            out[64 + ROWS * group + row] = block.sub_scales[group] as u8;
            out[192 + ROWS * group + row] = block.sub_minima[group];
        }
    }

    fn scale(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        half_at(header, 2 * row).to_f32() * f32::from(header[64 + ROWS * group + row])
    }

    fn minimum(header: &[u8], group: usize, _sub: usize, row: usize) -> f32 {
        half_at(header, 32 + 2 * row).to_f32() * f32::from(header[192 + ROWS * group + row])
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let row = V::ROWS * part;
            let sub_scale = V::load_u8(header.add(64 + ROWS * group + row));
            [V::mul(V::load_f16(header.add(2 * row)), sub_scale); 2]
        }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let row = V::ROWS * part;
            let sub_minimum = V::load_u8(header.add(192 + ROWS * group + row));
            [V::mul(V::load_f16(header.add(32 + 2 * row)), sub_minimum); 2]
        }
    }
}

/// Q2_K.
pub(crate) struct NibblesMinima;

impl Scales for NibblesMinima {
    const GROUPS: usize = 8;
    const BYTES: usize = 64 + 16 * ROWS;
    const SUBS: usize = 2;
    const MINIMA: bool = true;

    fn pack(block: &Block, _group: usize, row: usize, out: &mut [u8]) {
        pack_half_pair(block, row, out);
        for (i, (&scale, minimum)) in block.sub_scales.iter().zip(block.sub_minima).enumerate() {
            out[64 + ROWS * i + row] = scale as u8 | minimum << 4;
        }
    }

    fn scale(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        let byte = header[64 + ROWS * (2 * group + sub) + row];
        half_at(header, 2 * row).to_f32() * f32::from(byte & 15)
    }

    fn minimum(header: &[u8], group: usize, sub: usize, row: usize) -> f32 {
        let byte = header[64 + ROWS * (2 * group + sub) + row];
        half_at(header, 32 + 2 * row).to_f32() * f32::from(byte >> 4)
    }

    #[inline(always)]
    unsafe fn scales<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let row = V::ROWS * part;
            let scale = V::load_f16(header.add(2 * row));
            let subs = header.add(64 + ROWS * 2 * group + row);
            [
                V::mul(scale, V::load_low_nibbles(subs)),
                V::mul(scale, V::load_low_nibbles(subs.add(ROWS))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn minima<V: Simd>(header: *const u8, group: usize, part: usize) -> [V::Floats; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let row = V::ROWS * part;
            let minimum = V::load_f16(header.add(32 + 2 * row));
            let subs = header.add(64 + ROWS * 2 * group + row);
            [
                V::mul(minimum, V::load_high_nibbles(subs)),
                V::mul(minimum, V::load_high_nibbles(subs.add(ROWS))),
            ]
        }
    }
}

fn pack_half_pair(block: &Block, row: usize, out: &mut [u8]) {
    out[2 * row..2 * row + 2].copy_from_slice(&block.scale.to_le_bytes());
    out[32 + 2 * row..34 + 2 * row].copy_from_slice(&block.minimum.to_le_bytes());
}
