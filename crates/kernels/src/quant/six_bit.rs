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

use super::{Block, half_at};

pub(super) fn read_q6_k(bytes: &[u8], block: &mut Block) {
    let (low, rest) = bytes.split_at(128);
    let (high, rest) = rest.split_at(64);
    for (half, codes) in block.codes.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&low[64 * half..], &high[32 * half..]);
        for (j, code) in codes.iter_mut().enumerate() {
            let low = low[j % 64] >> (4 * (j / 64)) & 15;
            let high = high[j % 32] >> (2 * (j / 32)) & 3;
            *code = low | high << 4;
        }
    }
    for (scale, &byte) in block.sub_scales.iter_mut().zip(rest) {
        *scale = byte as i8;
    }
    block.scale = half_at(rest, 16);
}
