//! Eight-bit codes: Q8_0.
//!
//! As GGUF stores it: `d:f16 │ 32 × i8`. In memory the codes are shifted up by 128 so that they are
//! unsigned.
#![allow(unsafe_code)] // vectors

use super::block::{Block, half_at};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use crate::simd::dots::{Dots, ValueRange};

pub(crate) fn read_q8_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    for (code, byte) in block.codes.iter_mut().zip(&bytes[2..34]) {
        *code = byte ^ 0x80;
    }
}

/// Eight-bit codes in a strip: the eight vectors as they are.
pub(crate) struct EightBit;

impl ValueRange for EightBit {
    const MAX: u8 = 255;
    const OFFSET: i32 = 128;
}

impl Codes for EightBit {
    const GROUP_BYTES: usize = 512;
    const LAYOUT: StripCodes = StripCodes::EightBit;

    fn pack(codes: &Group, out: &mut [u8]) {
        out[..512].copy_from_slice(codes.as_flattened());
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        group[64 * vector + byte]
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [simd.load_bytes(group); 8];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = simd.load_bytes(group.add(64 * v + part * 4 * V::ROWS));
            }
            vectors
        }
    }
}
