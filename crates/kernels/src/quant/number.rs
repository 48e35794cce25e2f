//! Numbers as strips hold them: sixteen side by side, one for each row.
#![allow(unsafe_code)] // vectors

use half::{bf16, f16};

use crate::simd::dots::Dots;

/// A type that weights or their scales are stored in.
pub(crate) trait Number: 'static {
    /// Bytes of a number.
    const BYTES: usize;
    /// The number at byte `at`.
    fn get(bytes: &[u8], at: usize) -> f32;
    /// The numbers of `V::ROWS` rows.
    ///
    /// # Safety
    /// `from` has as many.
    unsafe fn load<V: Dots>(simd: V, from: *const u8) -> V::Floats;
}

/// Half of a byte: the lower.
pub(crate) struct LowNibble;
/// Half of a byte: the upper.
pub(crate) struct HighNibble;

/// Implements [`Number`]: bytes, how to read one, how to load a vector.
macro_rules! number {
    ($number:ty, $bytes:literal, $get:expr, $load:ident) => {
        impl Number for $number {
            const BYTES: usize = $bytes;

            fn get(bytes: &[u8], at: usize) -> f32 {
                let bytes: &[u8; $bytes] = bytes[at..].first_chunk().expect("a whole number");
                $get(*bytes)
            }

            #[inline(always)]
            unsafe fn load<V: Dots>(simd: V, from: *const u8) -> V::Floats {
                // SAFETY: the caller's promise.
                unsafe { simd.$load(from) }
            }
        }
    };
}

number!(f32, 4, f32::from_le_bytes, load_rows_f32);
number!(f16, 2, |b| f16::from_le_bytes(b).to_f32(), load_rows_f16);
number!(bf16, 2, |b| bf16::from_le_bytes(b).to_f32(), load_rows_bf16);
number!(u8, 1, |[b]: [u8; 1]| f32::from(b), load_rows_u8);
number!(i8, 1, |[b]: [u8; 1]| f32::from(b as i8), load_rows_i8);
number!(
    LowNibble,
    1,
    |[b]: [u8; 1]| f32::from(b & 15),
    load_rows_low_nibbles
);
number!(
    HighNibble,
    1,
    |[b]: [u8; 1]| f32::from(b >> 4),
    load_rows_high_nibbles
);
