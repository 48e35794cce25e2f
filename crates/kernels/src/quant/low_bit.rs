//! Two- and three-bit codes: Q2_K and Q3_K.
//!
//! As GGUF stores them, in two halves of 128 codes:
//!
//! ```text
//! Q2_K   16 B: byte i = minimum │ scale of codes 16·i.. │ low bits │ d:f16 dmin:f16
//! Q3_K   third bits: 32 B, bit i of byte j = code 32·i + j │ low bits │ 12 B scales │ d:f16
//!
//! low bits   2 × 32 B: byte j = code j+96 │ j+64 │ j+32 │ j, two bits each
//! ```
#![allow(unsafe_code)] // vectors

use super::block::{Block, half_at};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use super::five_bit::pack_bits;
use super::six_bit::{pack_pairs, pair};
use crate::simd::dots::{Dots, ValueRange};

/// 256 two-bit codes from 64 bytes.
pub(super) fn read_low_bits(packed: &[u8], codes: &mut [u8; 256]) {
    for (packed, codes) in packed.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (i, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, byte) in codes.iter_mut().zip(packed) {
                *code = byte >> (2 * i) & 3;
            }
        }
    }
}

pub(crate) fn read_q2_k(bytes: &[u8], block: &mut Block) {
    for (i, byte) in bytes[..16].iter().enumerate() {
        block.sub_scales[i] = (byte & 15) as i8;
        block.sub_minima[i] = byte >> 4;
    }
    read_low_bits(&bytes[16..80], &mut block.codes);
    block.scale = half_at(bytes, 80);
    block.minimum = -half_at(bytes, 82);
}

pub(crate) fn read_q3_k(bytes: &[u8], block: &mut Block) {
    read_low_bits(&bytes[32..96], &mut block.codes);
    for (i, codes) in block.codes.chunks_exact_mut(32).enumerate() {
        for (code, third) in codes.iter_mut().zip(&bytes[..32]) {
            *code |= (third >> i & 1) << 2;
        }
    }
    // Scale i: four bits from byte i % 8, two more from byte 8 + i % 4; stored with 32 added.
    let packed = &bytes[96..108];
    for i in 0..16 {
        let low = packed[i % 8] >> (4 * (i / 8)) & 15;
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        block.sub_scales[i] = (low | high << 4) as i8 - 32;
    }
    block.scale = half_at(bytes, 108);
}

/// Two-bit codes in a strip: the planes of high bits of [`SixBit`](super::six_bit::SixBit).
pub(crate) struct TwoBit;

impl ValueRange for TwoBit {
    const MAX: u8 = 3;
    const OFFSET: i32 = 0;
}

impl Codes for TwoBit {
    const GROUP_BYTES: usize = 128;
    const LAYOUT: StripCodes = StripCodes::TwoBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        pack_pairs(codes, 0, out);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        pair(group, vector, byte)
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [simd.load_bytes(group); 8];
            for half in 0..2 {
                let plane = simd.load_bytes(group.add(64 * half + part * 4 * V::ROWS));
                vectors[4 * half] = simd.and(plane, 3);
                vectors[4 * half + 1] = simd.and(simd.shift_right::<2>(plane), 3);
                vectors[4 * half + 2] = simd.and(simd.shift_right::<4>(plane), 3);
                vectors[4 * half + 3] = simd.and(simd.shift_right::<6>(plane), 3);
            }
            vectors
        }
    }
}

/// Three-bit codes in a strip: the planes of [`TwoBit`], then one of the third bits: bit v of byte
/// i = code i of vector v.
pub(crate) struct ThreeBit;

impl ValueRange for ThreeBit {
    const MAX: u8 = 7;
    const OFFSET: i32 = 4;
}

impl Codes for ThreeBit {
    const GROUP_BYTES: usize = 128 + 64;
    const LAYOUT: StripCodes = StripCodes::ThreeBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        let (low, third) = out.split_at_mut(128);
        pack_pairs(codes, 0, low);
        pack_bits(codes, 2, third);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        pair(group, vector, byte) | (group[128 + byte] >> vector & 1) << 2
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let low = TwoBit::unpack(simd, group, part);
            let third = simd.load_bytes(group.add(128 + part * 4 * V::ROWS));
            [
                simd.or_masked(low[0], simd.shift_left::<2>(third), 4),
                simd.or_masked(low[1], simd.shift_left::<1>(third), 4),
                simd.or_masked(low[2], third, 4),
                simd.or_masked(low[3], simd.shift_right::<1>(third), 4),
                simd.or_masked(low[4], simd.shift_right::<2>(third), 4),
                simd.or_masked(low[5], simd.shift_right::<3>(third), 4),
                simd.or_masked(low[6], simd.shift_right::<4>(third), 4),
                simd.or_masked(low[7], simd.shift_right::<5>(third), 4),
            ]
        }
    }
}
