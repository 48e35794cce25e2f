//! Five-bit codes: Q5_0, Q5_1 and Q5_K.
//!
//! As GGUF stores them: the four-bit formats with a plane of fifth bits.
//!
//! ```text
//! Q5_0   d:f16 │ fifth bits: u32, bit j = code j │ 16 B: byte j = code j+16 │ code j
//! Q5_1   d:f16 m:f16 │ the same
//! Q5_K   d:f16 dmin:f16 │ 12 B scales and minima │ fifth bits: 32 B, bit i of byte j = code 32·i + j
//!        │ 4 × 32 B: byte j = code j+32 │ code j
//! ```
#![allow(unsafe_code)] // vectors

use super::block::{Block, half_at, read_k_scales};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use super::four_bit::{nibble, pack_nibbles, read_nibbles, unpack_nibbles};
use crate::simd::dots::{Dots, ValueRange};

pub(crate) fn read_q5_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    read_codes(&bytes[2..22], block);
}

pub(crate) fn read_q5_1(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = half_at(bytes, 2);
    read_codes(&bytes[4..24], block);
}

/// 32 codes: the fifth bits, then the nibbles.
fn read_codes(bytes: &[u8], block: &mut Block) {
    read_nibbles(&bytes[4..], &mut block.codes[..32]);
    for (codes, fifth) in block.codes.chunks_exact_mut(8).zip(&bytes[..4]) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code |= (fifth >> i & 1) << 4;
        }
    }
}

pub(crate) fn read_q5_k(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = -half_at(bytes, 2);
    read_k_scales(&bytes[4..16], block);
    let fifth = &bytes[16..48];
    for (packed, codes) in bytes[48..]
        .chunks_exact(32)
        .zip(block.codes.chunks_exact_mut(64))
    {
        read_nibbles(packed, codes);
    }
    for (i, codes) in block.codes.chunks_exact_mut(32).enumerate() {
        for (code, fifth) in codes.iter_mut().zip(fifth) {
            *code |= (fifth >> i & 1) << 4;
        }
    }
}

/// Five-bit codes in a strip: the planes of [`FourBit`](super::four_bit::FourBit), then one of the
/// fifth bits: bit v of byte i = code i of vector v.
pub(crate) struct FiveBit<const OFFSET: i32>;

impl<const OFFSET: i32> ValueRange for FiveBit<OFFSET> {
    const MAX: u8 = 31;
    const OFFSET: i32 = OFFSET;
}

impl<const OFFSET: i32> Codes for FiveBit<OFFSET> {
    const GROUP_BYTES: usize = 256 + 64;
    const LAYOUT: StripCodes = StripCodes::FiveBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        let (nibbles, fifth) = out.split_at_mut(256);
        pack_nibbles(codes, nibbles);
        pack_bits(codes, 4, fifth);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        nibble(group, vector, byte) | (group[256 + byte] >> vector & 1) << 4
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let n = unpack_nibbles(simd, group, part);
            let fifth = simd.load_bytes(group.add(256 + part * 4 * V::ROWS));
            [
                simd.or_masked(n[0], simd.shift_left::<4>(fifth), 16),
                simd.or_masked(n[1], simd.shift_left::<3>(fifth), 16),
                simd.or_masked(n[2], simd.shift_left::<2>(fifth), 16),
                simd.or_masked(n[3], simd.shift_left::<1>(fifth), 16),
                simd.or_masked(n[4], fifth, 16),
                simd.or_masked(n[5], simd.shift_right::<1>(fifth), 16),
                simd.or_masked(n[6], simd.shift_right::<2>(fifth), 16),
                simd.or_masked(n[7], simd.shift_right::<3>(fifth), 16),
            ]
        }
    }
}

/// Gathers bit `bit` of all codes: bit v of byte i is that of code i of vector v.
pub(super) fn pack_bits(codes: &Group, bit: u32, out: &mut [u8]) {
    out[..64].fill(0);
    for (v, codes) in codes.iter().enumerate() {
        for (out, code) in out.iter_mut().zip(codes) {
            *out |= (code >> bit & 1) << v;
        }
    }
}
