//! How packed matrices lie in memory, for kernels outside this crate that read them.
//!
//! What the words mean is drawn in `strip` (blocks, groups and vectors), `scales`, and the files of the
//! codes; this says which of it a format has.

/// The layout of a strip of 16 rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripLayout {
    /// One number after the other: column 0 of 16 rows, column 1 of 16 rows, …
    Floats(StripFloats),
    /// Blocks: scales and minima of some groups of 32 columns, then the codes of each group.
    Quantized(QuantizedStrip),
}

/// The numbers of a strip of floats, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripFloats {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
}

/// A strip of blocks. A weight is `scale · (value − offset) + minimum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizedStrip {
    /// How the codes of a group are packed.
    pub codes: StripCodes,
    /// What is subtracted from a value.
    pub offset: i32,
    /// The values that codes stand for, where they are not the values themselves.
    pub table: Option<[u8; 16]>,
    /// How scales and minima are stored.
    pub scales: StripScales,
    /// Scales of a group: one, or one for each 16 columns.
    pub scales_of_group: usize,
    /// Groups of 32 columns in a block.
    pub groups: usize,
    /// Bytes of a block before its codes.
    pub header_bytes: usize,
    /// Bytes of the codes of a group.
    pub group_bytes: usize,
}

/// The codes of 16 rows × 32 columns: eight vectors of 64 codes (code `4·r + c` of vector `v` is row
/// `r`, column `4·v + c`), in planes of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripCodes {
    /// Two planes: bits `2·(v % 4)..` of byte `i` of plane `v / 4` are code `i` of vector `v`.
    TwoBit,
    /// The planes of [`StripCodes::TwoBit`], then one of third bits: bit `v` of byte `i`.
    ThreeBit,
    /// Four planes: the low half of byte `i` of plane `v % 4` is code `i` of vectors 0 to 3, the high
    /// half of vectors 4 to 7.
    FourBit,
    /// The planes of [`StripCodes::FourBit`], then one of fifth bits: bit `v` of byte `i`.
    FiveBit,
    /// The planes of [`StripCodes::FourBit`], then those of [`StripCodes::TwoBit`] with the upper bits.
    SixBit,
    /// Eight planes, one for each vector.
    EightBit,
}

/// The scales and minima of a block: items of 16 numbers, one for each row. `[g]` repeats an item for
/// each group, `[s]` for each scale of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripScales {
    /// `[g]` f16 scale.
    Halves,
    /// `[g]` f16 scale, then `[g]` f16 minimum.
    HalvesMinima,
    /// `[g]` f32 scale.
    Singles,
    /// f32 scale, then `[g][s]` i8 sub-scale; the scale is their product.
    Bytes,
    /// f16 scale, f16 minimum, `[g]` u8 sub-scale, `[g]` u8 sub-minimum.
    BytesMinima,
    /// f16 scale, f16 minimum, `[g][s]` byte of sub-minimum · 16 + sub-scale.
    NibblesMinima,
}

impl StripScales {
    /// Whether there are minima.
    pub const fn has_minima(self) -> bool {
        matches!(
            self,
            Self::HalvesMinima | Self::BytesMinima | Self::NibblesMinima
        )
    }
}
