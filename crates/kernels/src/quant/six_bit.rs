//! Six-bit codes: Q6_K.
//!
//! As GGUF stores it, in two halves of 128 codes:
//!
//! ```text
//! low bits   2 × 64 B: byte j = code j+64 │ code j       (j in 0..64)
//! high bits  2 × 32 B: byte j = code j+96 │ j+64 │ j+32 │ j, two bits each
//! scales     16 × i8, one for each 16 codes
//! d:f16
//! ```
#![allow(unsafe_code)] // vectors

use super::block::{Block, half_at};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use super::four_bit::{nibble, pack_nibbles, unpack_nibbles};
use crate::simd::dots::{Dots, ValueRange};

pub(crate) fn read_q6_k(bytes: &[u8], block: &mut Block) {
    let (low, rest) = bytes.split_at(128);
    let (high, rest) = rest.split_at(64);
    // 32 codes at a time share their shifts.
    for (i, codes) in block.codes.chunks_exact_mut(32).enumerate() {
        let (half, i) = (i / 4, i % 4);
        let low = &low[64 * half + 32 * (i % 2)..][..32];
        let high = &high[32 * half..][..32];
        for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
            *code = low >> (4 * (i / 2)) & 15 | (high >> (2 * i) & 3) << 4;
        }
    }
    for (scale, &byte) in block.sub_scales.iter_mut().zip(rest) {
        *scale = byte as i8;
    }
    block.scale = half_at(rest, 16);
}

/// Six-bit codes in a strip: the planes of [`FourBit`](super::four_bit::FourBit), then two of high
/// bits: bits 2·v.. of byte i = code i of vector v in the first, of vector v+4 in the second.
pub(crate) struct SixBit;

impl ValueRange for SixBit {
    const MAX: u8 = 63;
    const OFFSET: i32 = 32;
}

impl Codes for SixBit {
    const GROUP_BYTES: usize = 256 + 128;
    const LAYOUT: StripCodes = StripCodes::SixBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        let (nibbles, high) = out.split_at_mut(256);
        pack_nibbles(codes, nibbles);
        pack_pairs(codes, 4, high);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        nibble(group, vector, byte) | pair(&group[256..], vector, byte) << 4
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = unpack_nibbles(simd, group, part);
            for half in 0..2 {
                let high = simd.load_bytes(group.add(256 + 64 * half + part * 4 * V::ROWS));
                let v = &mut vectors[4 * half..4 * half + 4];
                v[0] = simd.or_masked(v[0], simd.shift_left::<4>(high), 48);
                v[1] = simd.or_masked(v[1], simd.shift_left::<2>(high), 48);
                v[2] = simd.or_masked(v[2], high, 48);
                v[3] = simd.or_masked(v[3], simd.shift_right::<2>(high), 48);
            }
            vectors
        }
    }
}

/// Gathers bits `bit` and `bit + 1` of all codes, laid out as in [`SixBit`].
pub(super) fn pack_pairs(codes: &Group, bit: u32, out: &mut [u8]) {
    out[..128].fill(0);
    for (v, codes) in codes.iter().enumerate() {
        for (out, code) in out[v / 4 * 64..].iter_mut().zip(codes) {
            *out |= (code >> bit & 3) << (2 * (v % 4));
        }
    }
}

/// What [`pack_pairs`] gathered of one code.
pub(super) fn pair(planes: &[u8], vector: usize, byte: usize) -> u8 {
    planes[vector / 4 * 64 + byte] >> (2 * (vector % 4)) & 3
}
