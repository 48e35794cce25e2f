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

use super::four_bit::read_nibbles;
use super::{Block, half_at, read_k_scales};

pub(super) fn read_q5_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    read_codes(&bytes[2..22], block);
}

pub(super) fn read_q5_1(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = half_at(bytes, 2);
    read_codes(&bytes[4..24], block);
}

/// 32 codes: the fifth bits, then the nibbles.
fn read_codes(bytes: &[u8], block: &mut Block) {
    let fifth = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    read_nibbles(&bytes[4..], &mut block.codes[..32]);
    for (j, code) in block.codes[..32].iter_mut().enumerate() {
        *code |= ((fifth >> j & 1) as u8) << 4;
    }
}

pub(super) fn read_q5_k(bytes: &[u8], block: &mut Block) {
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
