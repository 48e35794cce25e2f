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

use super::{Block, half_at};

/// 256 two-bit codes from 64 bytes.
fn read_low_bits(packed: &[u8], codes: &mut [u8; 256]) {
    for (packed, codes) in packed.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (j, code) in codes.iter_mut().enumerate() {
            *code = packed[j % 32] >> (2 * (j / 32)) & 3;
        }
    }
}

pub(super) fn read_q2_k(bytes: &[u8], block: &mut Block) {
    for (i, byte) in bytes[..16].iter().enumerate() {
        block.sub_scales[i] = (byte & 15) as i8;
        block.sub_minima[i] = byte >> 4;
    }
    read_low_bits(&bytes[16..80], &mut block.codes);
    block.scale = half_at(bytes, 80);
    block.minimum = -half_at(bytes, 82);
}

pub(super) fn read_q3_k(bytes: &[u8], block: &mut Block) {
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
