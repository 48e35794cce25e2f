//! One block of a GGUF file, taken apart.

use half::f16;

/// The longest block of any format, in elements.
const MAX_BLOCK: usize = 256;

/// One GGUF block taken apart. Only the leading `block_size` codes and the sub-blocks they make are
/// meaningful.
pub(crate) struct Block {
    /// Codes as stored: the value itself, or for IQ4 the index of a value.
    pub(super) codes: [u8; MAX_BLOCK],
    /// The scale of the whole block, in units.
    pub(super) scale: f16,
    /// The unit of the scale: a power of two, 1 in most formats.
    pub(super) unit: f32,
    /// The scale of each sub-block, relative to `scale`.
    pub(super) sub_scales: [i8; 16],
    /// What is added to the weights of a block: Q4_1's `m`, or `−dmin` of the 256-wide formats.
    pub(super) minimum: f16,
    /// The minimum of each sub-block, relative to `minimum`.
    pub(super) sub_minima: [u8; 16],
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            codes: [0; MAX_BLOCK],
            scale: f16::ZERO,
            unit: 1.0,
            sub_scales: [1; 16],
            minimum: f16::ZERO,
            sub_minima: [1; 16],
        }
    }
}

/// Fills a block from its bytes in the file, which are as many as its format says.
pub(crate) type ReadBlock = fn(&[u8], &mut Block);

/// Reads the half-precision number at byte `at`.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 6-bit scales and minima of Q4_K and Q5_K, eight of each in 12 bytes:
///
/// ```text
/// byte      0..4                4..8                8..12
///       hh ssssss (0..4)    hh mmmmmm (0..4)    mmmm ssss (4..8)
///       └─ top 2 bits of scale 4..8   └─ top 2 bits of minimum 4..8
/// ```
pub(super) fn read_k_scales(packed: &[u8], block: &mut Block) {
    for i in 0..4 {
        let (scale, minimum, low) = (packed[i], packed[i + 4], packed[i + 8]);
        block.sub_scales[i] = (scale & 63) as i8;
        block.sub_minima[i] = minimum & 63;
        block.sub_scales[i + 4] = (low & 15 | scale >> 6 << 4) as i8;
        block.sub_minima[i + 4] = low >> 4 | minimum >> 6 << 4;
    }
}
