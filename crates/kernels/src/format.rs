//! The number formats that weights come in: one table, a row a format.
//!
//! Names, type numbers and block layouts are GGUF's. The layouts themselves are drawn in
//! `quant`, one file per code width. To add a format is a row here, and in `quant` a
//! function that reads its blocks (and its codes and scales, if no other format has the like).

use thiserror::Error;

/// Hands the table of formats to the macro `$table`. A row is
///
/// ```text
/// Variant = number in the file "name", elements of a block in bytes of a block, memory;
/// ```
///
/// where memory is `floats(type)`, or `strips(what reads a block, codes, scales)`. Those are named
/// here, and known only where packed matrices choose their layout by the table: the formats stand
/// below all that deals with them.
macro_rules! with_formats {
    ($table:ident) => {
        $table! {
            /// 32-bit floats.
            F32 = 0 "F32", 1 in 4, floats(f32);
            /// IEEE half precision.
            F16 = 1 "F16", 1 in 2, floats(f16);
            /// The upper half of a 32-bit float.
            Bf16 = 30 "BF16", 1 in 2, floats(bf16);
            /// 4-bit codes, a scale for each 32.
            Q4_0 = 2 "Q4_0", 32 in 2 + 16, strips(four_bit::read_q4_0, FourBit<8>, Halves);
            /// 4-bit codes, a scale and a minimum for each 32.
            Q4_1 = 3 "Q4_1", 32 in 4 + 16, strips(four_bit::read_q4_1, FourBit<0>, HalvesMinima);
            /// 5-bit codes, a scale for each 32.
            Q5_0 = 6 "Q5_0", 32 in 2 + 4 + 16, strips(five_bit::read_q5_0, FiveBit<16>, Halves);
            /// 5-bit codes, a scale and a minimum for each 32.
            Q5_1 = 7 "Q5_1", 32 in 4 + 4 + 16, strips(five_bit::read_q5_1, FiveBit<0>, HalvesMinima);
            /// 8-bit codes, a scale for each 32.
            Q8_0 = 8 "Q8_0", 32 in 2 + 32, strips(eight_bit::read_q8_0, EightBit, Halves);
            /// 2-bit codes in super-blocks of 256, a 4-bit scale and minimum for each 16.
            Q2K = 10 "Q2_K", 256 in 16 + 64 + 4, strips(low_bit::read_q2_k, TwoBit, NibblesMinima);
            /// 3-bit codes in super-blocks of 256, a 6-bit scale for each 16.
            Q3K = 11 "Q3_K", 256 in 32 + 64 + 12 + 2, strips(low_bit::read_q3_k, ThreeBit, Bytes<2>);
            /// 4-bit codes in super-blocks of 256, a 6-bit scale and minimum for each 32.
            Q4K = 12 "Q4_K", 256 in 4 + 12 + 128, strips(four_bit::read_q4_k, FourBit<0>, BytesMinima);
            /// 5-bit codes in super-blocks of 256, a 6-bit scale and minimum for each 32.
            Q5K = 13 "Q5_K", 256 in 4 + 12 + 32 + 128, strips(five_bit::read_q5_k, FiveBit<0>, BytesMinima);
            /// 6-bit codes in super-blocks of 256, an 8-bit scale for each 16.
            Q6K = 14 "Q6_K", 256 in 128 + 64 + 16 + 2, strips(six_bit::read_q6_k, SixBit, Bytes<2>);
            /// 4-bit indices into a fixed table of 16 values, a scale for each 32.
            Iq4Nl = 20 "IQ4_NL", 32 in 2 + 16, strips(four_bit::read_q4_0, Codebook<Iq4>, Halves);
            /// [`Format::Iq4Nl`] in super-blocks of 256, a 6-bit scale for each 32.
            Iq4Xs = 23 "IQ4_XS", 256 in 2 + 2 + 4 + 128, strips(four_bit::read_iq4_xs, Codebook<Iq4>, Bytes<1>);
            /// Entries of a codebook of eight ternary weights, shifted by an eighth, a scale for each 32.
            Iq1S = 19 "IQ1_S", 256 in 2 + 32 + 16, strips(codebook::read_iq1_s, Codebook<Iq1>, Bytes<1>);
            /// [`Format::Iq1S`] with a shift for each 8 and a scale for each 16.
            Iq1M = 29 "IQ1_M", 256 in 32 + 16 + 8, strips(codebook::read_iq1_m, Codebook<Iq1>, Bytes<2>);
            /// Entries of a codebook of eight magnitudes, with signs and a scale for each 32.
            Iq2Xxs = 16 "IQ2_XXS", 256 in 2 + 64, strips(codebook::read_iq2_xxs, Codebook<Iq2>, Bytes<1>);
            /// [`Format::Iq2Xxs`] with a larger codebook and a scale for each 16.
            Iq2Xs = 17 "IQ2_XS", 256 in 2 + 64 + 8, strips(codebook::read_iq2_xs, Codebook<Iq2>, Bytes<2>);
            /// [`Format::Iq2Xs`] with a still larger codebook.
            Iq2S = 22 "IQ2_S", 256 in 2 + 32 + 32 + 8 + 8, strips(codebook::read_iq2_s, Codebook<Iq2>, Bytes<2>);
            /// Entries of a codebook of four magnitudes, with signs and a scale for each 32.
            Iq3Xxs = 18 "IQ3_XXS", 256 in 2 + 64 + 32, strips(codebook::read_iq3_xxs, Codebook<Iq3Xxs>, Bytes<1>);
            /// [`Format::Iq3Xxs`] with a larger codebook.
            Iq3S = 21 "IQ3_S", 256 in 2 + 64 + 8 + 32 + 4, strips(codebook::read_iq3_s, Codebook<Iq3S>, Bytes<1>);
            /// Ternary weights, five in a byte, a scale for each 256.
            Tq1_0 = 34 "TQ1_0", 256 in 48 + 4 + 2, strips(codebook::read_tq1_0, Codebook<Ternary>, Bytes<1>);
            /// Ternary weights, four in a byte, a scale for each 256.
            Tq2_0 = 35 "TQ2_0", 256 in 64 + 2, strips(codebook::read_tq2_0, Codebook<Ternary>, Bytes<1>);
            /// 4-bit floats, a power of two for each 32.
            Mxfp4 = 39 "MXFP4", 32 in 1 + 16, strips(codebook::read_mxfp4, Codebook<Mxfp4>, Singles);
        }
    };
}
pub(crate) use with_formats;

/// Declares [`Format`] and what the table says of each.
macro_rules! declare {
    ($($(#[$doc:meta])* $format:ident = $ggml:literal $name:literal,
        $size:literal in $bytes:expr, $memory:ident($($_:tt)*);)*) => {
        /// How the weights of a tensor are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Format {
            $($(#[$doc])* $format,)*
        }

        impl Format {
            /// Every format, in the order of the enum: what tests and benchmarks iterate over.
            pub const ALL: [Format; [$(Format::$format),*].len()] = [$(Format::$format),*];

            /// The format of a `ggml_type` number as found in a GGUF tensor table; `None` if it is
            /// not supported.
            pub fn from_ggml(ggml_type: u32) -> Option<Self> {
                match ggml_type {
                    $($ggml => Some(Format::$format),)*
                    _ => None,
                }
            }

            /// Elements of a block: the unit that rows are cut into.
            pub const fn block_size(self) -> usize {
                match self {
                    $(Format::$format => $size,)*
                }
            }

            /// Bytes of a block in the file.
            pub const fn block_bytes(self) -> usize {
                match self {
                    $(Format::$format => $bytes,)*
                }
            }

            /// The name people know it by, as in file names: `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Format::$format => $name,)*
                }
            }
        }
    };
}

with_formats!(declare);

impl Format {
    /// Bytes of a row of `k` elements in the file; `None` if `k` is not a whole number of blocks,
    /// or on overflow.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        if !k.is_multiple_of(self.block_size()) {
            return None;
        }
        (k / self.block_size()).checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that do not hold what was asked of them.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// The number of elements is not a whole number of blocks.
    #[error("{elements} elements are not a whole number of {format} blocks of {}", format.block_size())]
    PartialBlock {
        /// The format asked for.
        format: Format,
        /// The number of elements asked for.
        elements: usize,
    },
    /// Too few or too many bytes for the number of elements.
    #[error("{elements} elements of {format} take {expected} bytes, but there are {actual}")]
    Length {
        /// The format asked for.
        format: Format,
        /// The number of elements asked for.
        elements: usize,
        /// Bytes that this many elements take.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
}
