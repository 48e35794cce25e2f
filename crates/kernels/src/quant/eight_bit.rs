//! Eight-bit codes: Q8_0.
//!
//! As GGUF stores it: `d:f16 │ 32 × i8`. In memory the codes are shifted up by 128 so that they are unsigned.

use super::{Block, half_at};

pub(super) fn read_q8_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    for (code, byte) in block.codes.iter_mut().zip(&bytes[2..34]) {
        *code = byte ^ 0x80;
    }
}
