//! Four-bit codes: Q4_0, Q4_1, Q4_K, IQ4_NL and IQ4_XS.
//!
//! As GGUF stores them (`byte j: hi|lo`, little-endian numbers):
//!
//! ```text
//! Q4_0, IQ4_NL   d:f16 │ 16 B: byte j = code j+16 │ code j
//! Q4_1           d:f16 m:f16 │ 16 B as above
//! Q4_K           d:f16 dmin:f16 │ 12 B scales and minima │ 4 × 32 B: byte j = code j+32 │ code j
//! IQ4_XS         d:f16 │ scales_h:u16 │ scales_l: 4 B │ 8 × 16 B: byte j = code j+16 │ code j
//! ```

use super::{Block, half_at, read_k_scales};

/// The values of IQ4's indices, shifted up by 128 so that they are unsigned.
pub(super) const IQ4_VALUES: [u8; 16] = [
    1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
];

/// Splits `packed` into its low nibbles, followed by its high nibbles.
pub(super) fn read_nibbles(packed: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(packed.len());
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(packed) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

pub(super) fn read_q4_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    read_nibbles(&bytes[2..18], &mut block.codes[..32]);
}

pub(super) fn read_q4_1(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.minimum = half_at(bytes, 2);
    read_nibbles(&bytes[4..20], &mut block.codes[..32]);
}

pub(super) fn read_q4_k(bytes: &[u8], block: &mut Block) {
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

pub(super) fn read_iq4_xs(bytes: &[u8], block: &mut Block) {
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
