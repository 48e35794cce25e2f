//! The codes of a strip: what every way to store them offers.
#![allow(unsafe_code)] // vectors

use super::description::StripCodes;
use crate::simd::dots::{Dots, ValueRange};

/// Rows of a strip: the 32-bit lanes of a 512-bit vector.
pub(crate) const STRIP_ROWS: usize = 16;

/// The codes of 16 rows × 32 columns as eight vectors: byte `4·r + c` of vector `v` is row `r`,
/// column `4·v + c`.
pub(crate) type Group = [[u8; 64]; 8];

/// How the codes of a group are stored in memory.
pub(crate) trait Codes: ValueRange + 'static {
    /// Bytes of a group.
    const GROUP_BYTES: usize;
    /// What it is called outside this crate.
    const LAYOUT: StripCodes;
    /// The values that codes stand for, where [`Codes::decode`] looks them up.
    const TABLE: Option<[u8; 16]> = None;

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
    /// `group` has [`Codes::GROUP_BYTES`] bytes.
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8];
}
