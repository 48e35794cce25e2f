//! The quantised formats: how GGUF stores them, and what they become in memory.
//!
//! Every quantised weight is `scale · (value − offset) + minimum`: an unsigned integer *value*, an
//! *offset* fixed by the format, and for each sub-block of 16 or 32 weights a scale and perhaps a
//! minimum. `Block` is one block of the file taken apart that way. In memory, 16 rows make a strip,
//! whose codes and scales are stored apart; any way to store the one (`Codes`) goes with any way to
//! store the other (`Scales`).
//!
//! | file | what it holds |
//! |---|---|
//! | `four_bit` | Q4_0, Q4_1, Q4_K, IQ4_NL, IQ4_XS: in the file, and their codes in a strip |
//! | `five_bit` | Q5_0, Q5_1, Q5_K |
//! | `six_bit` | Q6_K |
//! | `eight_bit` | Q8_0 |
//! | `low_bit` | Q2_K, Q3_K |
//! | `codebook` | IQ1, IQ2, IQ3, TQ1_0, TQ2_0, MXFP4 |
//! | `scales` | the scales and minima of a strip |
//! | `strip` | the whole of a strip: packed, and read back |
#![allow(unsafe_code)] // vectors

use half::f16;

use crate::format::{Format, FormatError};
use crate::matmul::layout::layout;
use crate::matmul::simd::Simd;

pub(crate) mod codebook;
pub(crate) mod eight_bit;
pub(crate) mod five_bit;
pub(crate) mod four_bit;
pub(crate) mod low_bit;
pub(crate) mod scales;
pub(crate) mod six_bit;
pub(crate) mod strip;

/// Rows of a strip: the 32-bit lanes of a 512-bit vector.
pub(crate) const STRIP_ROWS: usize = 16;

/// The codes of 16 rows × 32 columns as eight vectors: byte `4·r + c` of vector `v` is row `r`,
/// column `4·v + c`.
pub(crate) type Group = [[u8; 64]; 8];

/// How the codes of a group are stored in memory.
pub(crate) trait Codes: 'static {
    /// Bytes of a group.
    const GROUP_BYTES: usize;
    /// The largest value that [`Codes::unpack`] gives.
    const MAX: u8;
    /// Subtracted from every value: the weight is `scale · (value − OFFSET)`.
    const OFFSET: i32;

    /// The value of a code as the file has it, where it is not the code itself.
    fn decode(code: u8) -> u8 {
        code
    }

    /// Writes a group.
    fn pack(codes: &Group, out: &mut [u8]);
    /// One value: byte `byte` of vector `vector`.
    fn value(group: &[u8], vector: usize, byte: usize) -> u8;
    /// The values of the rows `part · V::ROWS ..`: the part of each of the eight vectors that
    /// belongs to them.
    ///
    /// # Safety
    /// `group` has [`Codes::GROUP_BYTES`] bytes; the instructions of `V` exist.
    unsafe fn unpack<V: Simd>(group: *const u8, part: usize) -> [V::Bytes; 8];
}

/// The longest block of any format, in elements.
const MAX_BLOCK: usize = 256;

/// One GGUF block taken apart. Only the leading `block_size` codes and the sub-blocks they make are
/// meaningful.
pub(crate) struct Block {
    /// Codes as stored: the value itself, or for IQ4 the index of a value.
    codes: [u8; MAX_BLOCK],
    /// The scale of the whole block, in units.
    scale: f16,
    /// The unit of the scale: a power of two, 1 in most formats.
    unit: f32,
    /// The scale of each sub-block, relative to `scale`.
    sub_scales: [i8; 16],
    /// What is added to the weights of a block: Q4_1's `m`, or `−dmin` of the 256-wide formats.
    minimum: f16,
    /// The minimum of each sub-block, relative to `minimum`.
    sub_minima: [u8; 16],
}

impl Block {
    fn new() -> Self {
        Self {
            codes: [0; MAX_BLOCK],
            scale: f16::ZERO,
            unit: 1.0,
            sub_scales: [1; 16],
            minimum: f16::ZERO,
            sub_minima: [1; 16],
        }
    }

    /// Fills the block from `bytes`, which are `format.block_bytes()` long.
    fn read(&mut self, format: Format, bytes: &[u8]) {
        match format {
            Format::Q4_0 | Format::Iq4Nl => four_bit::read_q4_0(bytes, self),
            Format::Q4_1 => four_bit::read_q4_1(bytes, self),
            Format::Q4K => four_bit::read_q4_k(bytes, self),
            Format::Iq4Xs => four_bit::read_iq4_xs(bytes, self),
            Format::Q5_0 => five_bit::read_q5_0(bytes, self),
            Format::Q5_1 => five_bit::read_q5_1(bytes, self),
            Format::Q5K => five_bit::read_q5_k(bytes, self),
            Format::Q6K => six_bit::read_q6_k(bytes, self),
            Format::Q8_0 => eight_bit::read_q8_0(bytes, self),
            Format::Q2K => low_bit::read_q2_k(bytes, self),
            Format::Q3K => low_bit::read_q3_k(bytes, self),
            Format::Iq1S => codebook::read_iq1_s(bytes, self),
            Format::Iq1M => codebook::read_iq1_m(bytes, self),
            Format::Iq2Xxs => codebook::read_iq2_xxs(bytes, self),
            Format::Iq2Xs => codebook::read_iq2_xs(bytes, self),
            Format::Iq2S => codebook::read_iq2_s(bytes, self),
            Format::Iq3Xxs => codebook::read_iq3_xxs(bytes, self),
            Format::Iq3S => codebook::read_iq3_s(bytes, self),
            Format::Tq1_0 => codebook::read_tq1_0(bytes, self),
            Format::Tq2_0 => codebook::read_tq2_0(bytes, self),
            Format::Mxfp4 => codebook::read_mxfp4(bytes, self),
            Format::F32 | Format::F16 | Format::Bf16 => {
                unreachable!("float formats are not read as blocks")
            }
        }
    }
}

/// Turns `bytes` in GGUF's layout into floats, exactly as the `gguf` Python package does.
///
/// # Errors
/// If `out` is not a whole number of blocks, or `bytes` is not as long as that many blocks.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), FormatError> {
    let elements = out.len();
    let expected = format
        .row_bytes(elements)
        .ok_or(FormatError::PartialBlock { format, elements })?;
    if bytes.len() != expected {
        return Err(FormatError::Length {
            format,
            elements,
            expected,
            actual: bytes.len(),
        });
    }
    layout(format).dequantize(format, bytes, out);
    Ok(())
}

/// Reads the half-precision number at byte `at`.
fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 6-bit scales and minima of Q4_K and Q5_K, eight of each in 12 bytes:
///
/// ```text
/// byte      0..4                4..8                8..12
///       hh ssssss (0..4)    hh mmmmmm (0..4)    mmmm ssss (4..8)
///       └─ top 2 bits of scale 4..8   └─ top 2 bits of minimum 4..8
/// ```
fn read_k_scales(packed: &[u8], block: &mut Block) {
    for i in 0..4 {
        let (scale, minimum, low) = (packed[i], packed[i + 4], packed[i + 8]);
        block.sub_scales[i] = (scale & 63) as i8;
        block.sub_minima[i] = minimum & 63;
        block.sub_scales[i + 4] = (low & 15 | scale >> 6 << 4) as i8;
        block.sub_minima[i + 4] = low >> 4 | minimum >> 6 << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_block_is_refused() {
        let error = dequantize(Format::Q4_0, &[0; 18], &mut [0.0; 31]);
        assert_eq!(
            error,
            Err(FormatError::PartialBlock {
                format: Format::Q4_0,
                elements: 31
            })
        );
    }

    #[test]
    fn a_wrong_length_is_refused_with_both_lengths() {
        let error = dequantize(Format::Q4K, &[0; 143], &mut [0.0; 256]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "256 elements of Q4_K take 144 bytes, but there are 143"
        );
    }
}
