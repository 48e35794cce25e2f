//! Eight-bit codes: Q8_0.
//!
//! As GGUF stores it: `d:f16 │ 32 × i8`. In memory the codes are shifted up by 128 so that they are
//! unsigned.
#![allow(unsafe_code)] // vectors

use super::{Block, Codes, Group, half_at};
use crate::matmul::simd::Simd;

pub(super) fn read_q8_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    for (code, byte) in block.codes.iter_mut().zip(&bytes[2..34]) {
        *code = byte ^ 0x80;
    }
}

/// Eight-bit codes in a strip: the eight vectors as they are.
pub(crate) struct EightBit;

impl Codes for EightBit {
    const GROUP_BYTES: usize = 512;
    const MAX: u8 = 255;
    const OFFSET: i32 = 128;

    fn pack(codes: &Group, out: &mut [u8]) {
        out[..512].copy_from_slice(codes.as_flattened());
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        group[64 * vector + byte]
    }

    #[inline(always)]
    unsafe fn unpack<V: Simd>(group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [V::load(group); 8];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = V::load(group.add(64 * v + part * 4 * V::ROWS));
            }
            vectors
        }
    }
}
