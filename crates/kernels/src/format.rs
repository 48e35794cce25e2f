//! The number formats that weights come in, and the geometry of their blocks.
//!
//! Names, type numbers and block layouts are GGUF's. The layouts themselves are drawn in
//! [`crate::quant`], one file per code width.

use thiserror::Error;

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// 4-bit codes, a scale for each 32.
    Q4_0,
    /// 4-bit codes, a scale and a minimum for each 32.
    Q4_1,
    /// 5-bit codes, a scale for each 32.
    Q5_0,
    /// 5-bit codes, a scale and a minimum for each 32.
    Q5_1,
    /// 8-bit codes, a scale for each 32.
    Q8_0,
    /// 2-bit codes in super-blocks of 256, a 4-bit scale and minimum for each 16.
    Q2K,
    /// 3-bit codes in super-blocks of 256, a 6-bit scale for each 16.
    Q3K,
    /// 4-bit codes in super-blocks of 256, a 6-bit scale and minimum for each 32.
    Q4K,
    /// 5-bit codes in super-blocks of 256, a 6-bit scale and minimum for each 32.
    Q5K,
    /// 6-bit codes in super-blocks of 256, an 8-bit scale for each 16.
    Q6K,
    /// 4-bit indices into a fixed table of 16 values, a scale for each 32.
    Iq4Nl,
    /// [`Format::Iq4Nl`] in super-blocks of 256, a 6-bit scale for each 32.
    Iq4Xs,
    /// Entries of a codebook of eight ternary weights, shifted by an eighth, a scale for each 32.
    Iq1S,
    /// [`Format::Iq1S`] with a shift for each 8 and a scale for each 16.
    Iq1M,
    /// Entries of a codebook of eight magnitudes, with signs and a scale for each 32.
    Iq2Xxs,
    /// [`Format::Iq2Xxs`] with a larger codebook and a scale for each 16.
    Iq2Xs,
    /// [`Format::Iq2Xs`] with a still larger codebook.
    Iq2S,
    /// Entries of a codebook of four magnitudes, with signs and a scale for each 32.
    Iq3Xxs,
    /// [`Format::Iq3Xxs`] with a larger codebook.
    Iq3S,
    /// Ternary weights, five in a byte, a scale for each 256.
    Tq1_0,
    /// Ternary weights, four in a byte, a scale for each 256.
    Tq2_0,
    /// 4-bit floats, a power of two for each 32.
    Mxfp4,
}

impl Format {
    /// Every format, in the order of the enum: what tests and benchmarks iterate over.
    pub const ALL: [Format; 25] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq4Nl,
        Format::Iq4Xs,
        Format::Iq1S,
        Format::Iq1M,
        Format::Iq2Xxs,
        Format::Iq2Xs,
        Format::Iq2S,
        Format::Iq3Xxs,
        Format::Iq3S,
        Format::Tq1_0,
        Format::Tq2_0,
        Format::Mxfp4,
    ];

    /// The format of a `ggml_type` number as found in a GGUF tensor table; `None` if it is not
    /// supported.
    pub fn from_ggml(ggml_type: u32) -> Option<Self> {
        Some(match ggml_type {
            0 => Format::F32,
            1 => Format::F16,
            2 => Format::Q4_0,
            3 => Format::Q4_1,
            6 => Format::Q5_0,
            7 => Format::Q5_1,
            8 => Format::Q8_0,
            10 => Format::Q2K,
            11 => Format::Q3K,
            12 => Format::Q4K,
            13 => Format::Q5K,
            14 => Format::Q6K,
            16 => Format::Iq2Xxs,
            17 => Format::Iq2Xs,
            18 => Format::Iq3Xxs,
            19 => Format::Iq1S,
            20 => Format::Iq4Nl,
            21 => Format::Iq3S,
            22 => Format::Iq2S,
            23 => Format::Iq4Xs,
            29 => Format::Iq1M,
            30 => Format::Bf16,
            34 => Format::Tq1_0,
            35 => Format::Tq2_0,
            39 => Format::Mxfp4,
            _ => return None,
        })
    }

    /// Elements of a block: the unit that rows are cut into.
    pub const fn block_size(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::Bf16 => 1,
            Format::Q4_0
            | Format::Q4_1
            | Format::Q5_0
            | Format::Q5_1
            | Format::Q8_0
            | Format::Iq4Nl
            | Format::Mxfp4 => 32,
            _ => 256,
        }
    }

    /// Bytes of a block in the file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
            Format::Q4_0 | Format::Iq4Nl => 2 + 16,
            Format::Q4_1 => 4 + 16,
            Format::Q5_0 => 2 + 4 + 16,
            Format::Q5_1 => 4 + 4 + 16,
            Format::Q8_0 => 2 + 32,
            Format::Q2K => 16 + 64 + 4,
            Format::Q3K => 32 + 64 + 12 + 2,
            Format::Q4K => 4 + 12 + 128,
            Format::Q5K => 4 + 12 + 32 + 128,
            Format::Q6K => 128 + 64 + 16 + 2,
            Format::Iq4Xs => 2 + 2 + 4 + 128,
            Format::Iq1S => 2 + 32 + 16,
            Format::Iq1M => 32 + 16 + 8,
            Format::Iq2Xxs => 2 + 64,
            Format::Iq2Xs => 2 + 64 + 8,
            Format::Iq2S => 2 + 32 + 32 + 8 + 8,
            Format::Iq3Xxs => 2 + 64 + 32,
            Format::Iq3S => 2 + 64 + 8 + 32 + 4,
            Format::Tq1_0 => 48 + 4 + 2,
            Format::Tq2_0 => 64 + 2,
            Format::Mxfp4 => 1 + 16,
        }
    }

    /// Bytes of a row of `k` elements in the file; `None` if `k` is not a whole number of blocks,
    /// or on overflow.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        if !k.is_multiple_of(self.block_size()) {
            return None;
        }
        (k / self.block_size()).checked_mul(self.block_bytes())
    }

    /// The name people know it by, as in file names: `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Bf16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
            Format::Q2K => "Q2_K",
            Format::Q3K => "Q3_K",
            Format::Q4K => "Q4_K",
            Format::Q5K => "Q5_K",
            Format::Q6K => "Q6_K",
            Format::Iq4Nl => "IQ4_NL",
            Format::Iq4Xs => "IQ4_XS",
            Format::Iq1S => "IQ1_S",
            Format::Iq1M => "IQ1_M",
            Format::Iq2Xxs => "IQ2_XXS",
            Format::Iq2Xs => "IQ2_XS",
            Format::Iq2S => "IQ2_S",
            Format::Iq3Xxs => "IQ3_XXS",
            Format::Iq3S => "IQ3_S",
            Format::Tq1_0 => "TQ1_0",
            Format::Tq2_0 => "TQ2_0",
            Format::Mxfp4 => "MXFP4",
        }
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
