//! What a matrix needs to know of its format: how to pack it, read it, multiply it.
#![allow(unsafe_code)] // the products with vectors

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::dispatch::Isa;
use crate::format::{Format, with_formats};
use crate::matmul::task::MatmulTask;
use crate::matmul::{float, integer};
use crate::quant::codebook::{self, Codebook, Iq1, Iq2, Iq3S, Iq3Xxs, Iq4, Mxfp4, Ternary};
use crate::quant::codes::{Codes, STRIP_ROWS};
use crate::quant::description::{StripFloats, StripLayout};
use crate::quant::eight_bit::{self, EightBit};
use crate::quant::five_bit::{self, FiveBit};
use crate::quant::four_bit::{self, FourBit};
use crate::quant::low_bit::{self, ThreeBit, TwoBit};
use crate::quant::number::Number;
use crate::quant::scales::{
    Bytes, BytesMinima, Halves, HalvesMinima, NibblesMinima, Scales, Singles,
};
use crate::quant::six_bit::{self, SixBit};
use crate::quant::strip::Strip;

/// A layout of strips of 16 rows.
pub(crate) trait Layout: Send + Sync {
    /// Whether inputs are wanted as integers.
    fn quantizes_inputs(&self) -> bool;
    /// Bytes of a strip of `cols` columns.
    fn strip_bytes(&self, cols: usize) -> usize;
    /// Packs up to 16 rows, in GGUF's layout with `row_bytes` each, into a zeroed strip.
    fn pack(&self, rows: &[u8], row_bytes: usize, strip: &mut [u8]);
    /// Dequantises whole blocks of GGUF's layout.
    fn dequantize(&self, bytes: &[u8], out: &mut [f32]);
    /// Dequantises row `row` of a strip.
    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]);
    /// Computes the outputs of `task`.
    fn multiply(&self, isa: Isa, task: &MatmulTask<'_>);
}

/// The layout that the table of formats names.
macro_rules! layout_of {
    ($format:ident floats($number:ty)) => {
        const { &FloatStrip::<$number>(PhantomData) }
    };
    ($format:ident strips($read:path, $codes:ty, $scales:ty)) => {
        const { &Strip::<$codes, $scales>::new(Format::$format, $read) }
    };
}

/// What is told of a layout outside this crate.
macro_rules! description_of {
    (floats(f32)) => {
        StripLayout::Floats(StripFloats::F32)
    };
    (floats(f16)) => {
        StripLayout::Floats(StripFloats::F16)
    };
    (floats(bf16)) => {
        StripLayout::Floats(StripFloats::Bf16)
    };
    (strips($read:path, $codes:ty, $scales:ty)) => {
        Strip::<$codes, $scales>::LAYOUT
    };
}

/// Defines [`layout`] and [`Format::strip`].
macro_rules! define {
    ($($(#[$doc:meta])* $format:ident = $ggml:literal $name:literal,
        $size:literal in $bytes:expr, $kind:ident($($memory:tt)*);)*) => {
        /// The layout that weights of `format` get.
        pub(crate) fn layout(format: Format) -> &'static dyn Layout {
            match format {
                $(Format::$format => layout_of!($format $kind($($memory)*)),)*
            }
        }

        impl Format {
            /// How strips of packed matrices of this format lie in memory.
            pub const fn strip(self) -> StripLayout {
                match self {
                    $(Format::$format => description_of!($kind($($memory)*)),)*
                }
            }
        }
    };
}

with_formats!(define);

impl<C: Codes, S: Scales> Layout for Strip<C, S> {
    fn quantizes_inputs(&self) -> bool {
        true
    }

    fn strip_bytes(&self, cols: usize) -> usize {
        Self::bytes(cols)
    }

    fn pack(&self, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        self.pack(rows, row_bytes, strip);
    }

    fn dequantize(&self, bytes: &[u8], out: &mut [f32]) {
        self.dequantize(bytes, out);
    }

    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]) {
        Self::row(strip, row, out);
    }

    fn multiply(&self, isa: Isa, task: &MatmulTask<'_>) {
        match isa {
            Isa::Scalar => integer::multiply_scalar::<C, S>(task),
            // SAFETY: the task is of a matrix with this layout.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => unsafe { integer::multiply::<_, C, S>(simd, task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => unsafe { integer::multiply::<_, C, S>(simd, task) },
        }
    }
}

/// The layout of float formats.
struct FloatStrip<N>(PhantomData<fn() -> N>);

impl<N: Number> Layout for FloatStrip<N> {
    fn quantizes_inputs(&self) -> bool {
        false
    }

    fn strip_bytes(&self, cols: usize) -> usize {
        cols * STRIP_ROWS * N::BYTES
    }

    fn pack(&self, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        float::pack::<N>(rows, row_bytes, strip);
    }

    fn dequantize(&self, bytes: &[u8], out: &mut [f32]) {
        float::dequantize::<N>(bytes, out);
    }

    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]) {
        float::row::<N>(strip, row, out);
    }

    fn multiply(&self, isa: Isa, task: &MatmulTask<'_>) {
        match isa {
            Isa::Scalar => float::multiply_scalar::<N>(task),
            // SAFETY: the task is of a matrix with this layout.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => unsafe { float::multiply::<_, N>(simd, task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => unsafe { float::multiply::<_, N>(simd, task) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::description::QuantizedStrip;

    #[test]
    fn what_is_told_of_a_layout_adds_up() {
        for format in Format::ALL {
            let cols = 5 * format.block_size();
            let bytes = match format.strip() {
                StripLayout::Floats(StripFloats::F32) => 16 * 4 * cols,
                StripLayout::Floats(_) => 16 * 2 * cols,
                StripLayout::Quantized(QuantizedStrip {
                    groups,
                    header_bytes,
                    group_bytes,
                    scales_of_group,
                    ..
                }) => {
                    assert!(matches!(scales_of_group, 1 | 2), "{format}");
                    cols.div_ceil(32 * groups) * (header_bytes + groups * group_bytes)
                }
            };
            assert_eq!(bytes, layout(format).strip_bytes(cols), "{format}");
        }
    }
}
