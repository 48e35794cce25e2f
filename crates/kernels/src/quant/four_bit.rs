//! Four-bit codes: Q4_0, Q4_1, Q4_K; and IQ4_NL and IQ4_XS, whose codes are indices of a
//! [codebook](super::codebook).
//!
//! As GGUF stores them (`byte j: hi|lo`, little-endian numbers):
//!
//! ```text
//! Q4_0, IQ4_NL   d:f16 │ 16 B: byte j = code j+16 │ code j
//! Q4_1           d:f16 m:f16 │ 16 B as above
//! Q4_K           d:f16 dmin:f16 │ 12 B scales and minima │ 4 × 32 B: byte j = code j+32 │ code j
//! IQ4_XS         d:f16 │ scales_h:u16 │ scales_l: 4 B │ 8 × 16 B: byte j = code j+16 │ code j
//! ```
#![allow(unsafe_code)] // vectors

use super::block::{Block, half_at, read_k_scales};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use crate::simd::dots::{Dots, ValueRange};

/// Splits `packed` into its low nibbles, followed by its high nibbles.
pub(super) fn read_nibbles(packed: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(packed.len());
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(packed) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

pub(crate) fn read_q4_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    read_nibbles(&bytes[2..18], &mut block.codes[..32]);
}

pub(crate) fn read_q4_1(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = half_at(bytes, 2);
    read_nibbles(&bytes[4..20], &mut block.codes[..32]);
}

pub(crate) fn read_q4_k(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = -half_at(bytes, 2);
    read_k_scales(&bytes[4..16], block);
    for (packed, codes) in bytes[16..]
        .chunks_exact(32)
        .zip(block.codes.chunks_exact_mut(64))
    {
        read_nibbles(packed, codes);
    }
}

pub(crate) fn read_iq4_xs(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    let high = u16::from_le_bytes([bytes[2], bytes[3]]);
    for i in 0..8 {
        let low = bytes[4 + i / 2] >> (4 * (i % 2)) & 15;
        let high = (high >> (2 * i) & 3) as u8;
        block.sub_scales[i] = (low | high << 4) as i8 - 32;
    }
    for (packed, codes) in bytes[8..]
        .chunks_exact(16)
        .zip(block.codes.chunks_exact_mut(32))
    {
        read_nibbles(packed, codes);
    }
}

/// Four-bit codes in a strip: `byte i of plane j = code i of vector j+4 │ code i of vector j`, in 4
/// planes of 64 B.
pub(crate) struct FourBit<const OFFSET: i32>;

impl<const OFFSET: i32> ValueRange for FourBit<OFFSET> {
    const MAX: u8 = 15;
    const OFFSET: i32 = OFFSET;
}

impl<const OFFSET: i32> Codes for FourBit<OFFSET> {
    const GROUP_BYTES: usize = 256;
    const LAYOUT: StripCodes = StripCodes::FourBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        pack_nibbles(codes, out);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        nibble(group, vector, byte)
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe { unpack_nibbles(simd, group, part) }
    }
}

pub(super) fn pack_nibbles(codes: &Group, out: &mut [u8]) {
    for (j, plane) in out.as_chunks_mut::<64>().0.iter_mut().take(4).enumerate() {
        for (i, byte) in plane.iter_mut().enumerate() {
            *byte = codes[j][i] & 15 | codes[j + 4][i] << 4;
        }
    }
}

pub(super) fn nibble(group: &[u8], vector: usize, byte: usize) -> u8 {
    group[vector % 4 * 64 + byte] >> (4 * (vector / 4)) & 15
}

/// # Safety
/// `group` has the 256 bytes that [`pack_nibbles`] writes.
#[inline(always)]
pub(super) unsafe fn unpack_nibbles<V: Dots>(
    simd: V,
    group: *const u8,
    part: usize,
) -> [V::Bytes; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut vectors = [simd.load_bytes(group); 8];
        for j in 0..4 {
            let plane = simd.load_bytes(group.add(64 * j + part * 4 * V::ROWS));
            vectors[j] = simd.and(plane, 15);
            vectors[j + 4] = simd.and(simd.shift_right::<4>(plane), 15);
        }
        vectors
    }
}
