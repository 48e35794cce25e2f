//! What a matrix needs to know of its format: how to pack it, read it, multiply it.

use half::{bf16, f16};

use super::float::{self, Element};
use super::integer;
use super::job::Job;
use crate::dispatch::Isa;
#[cfg(target_arch = "x86_64")]
use crate::dispatch::{Avx2, Avx512};
use crate::format::Format;
use crate::quant::Codes;
use crate::quant::codebook::{Codebook, Iq1, Iq2, Iq3S, Iq3Xxs, Iq4, Mxfp4, Ternary};
use crate::quant::eight_bit::EightBit;
use crate::quant::five_bit::FiveBit;
use crate::quant::four_bit::FourBit;
use crate::quant::low_bit::{ThreeBit, TwoBit};
use crate::quant::scales::{
    Bytes, BytesMinima, Halves, HalvesMinima, NibblesMinima, Scales, Singles,
};
use crate::quant::six_bit::SixBit;
use crate::quant::strip::Strip;

/// A layout of strips of 16 rows.
pub(crate) trait Layout: Send + Sync {
    /// Whether inputs are wanted as integers.
    fn quantizes_inputs(&self) -> bool;
    /// Bytes of a strip of `cols` columns.
    fn strip_bytes(&self, cols: usize) -> usize;
    /// Packs up to 16 rows, in GGUF's layout with `row_bytes` each, into a zeroed strip.
    fn pack(&self, format: Format, rows: &[u8], row_bytes: usize, strip: &mut [u8]);
    /// Dequantises whole blocks of GGUF's layout.
    fn dequantize(&self, format: Format, bytes: &[u8], out: &mut [f32]);
    /// Dequantises row `row` of a strip.
    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]);
    /// Computes the outputs of `job`.
    fn multiply(&self, isa: Isa, job: &Job<'_>);
}

/// The layout that weights of `format` get.
pub(crate) fn layout(format: Format) -> &'static dyn Layout {
    match format {
        Format::F32 => &Floats::<f32>::NEW,
        Format::F16 => &Floats::<f16>::NEW,
        Format::Bf16 => &Floats::<bf16>::NEW,
        Format::Q4_0 => &Strip::<FourBit<8>, Halves>::NEW,
        Format::Q4_1 => &Strip::<FourBit<0>, HalvesMinima>::NEW,
        Format::Q5_0 => &Strip::<FiveBit<16>, Halves>::NEW,
        Format::Q5_1 => &Strip::<FiveBit<0>, HalvesMinima>::NEW,
        Format::Q8_0 => &Strip::<EightBit, Halves>::NEW,
        Format::Q2K => &Strip::<TwoBit, NibblesMinima>::NEW,
        Format::Q3K => &Strip::<ThreeBit, Bytes<2>>::NEW,
        Format::Q4K => &Strip::<FourBit<0>, BytesMinima>::NEW,
        Format::Q5K => &Strip::<FiveBit<0>, BytesMinima>::NEW,
        Format::Q6K => &Strip::<SixBit, Bytes<2>>::NEW,
        Format::Iq4Nl => &Strip::<Codebook<Iq4>, Halves>::NEW,
        Format::Iq4Xs => &Strip::<Codebook<Iq4>, Bytes<1>>::NEW,
        Format::Iq1S => &Strip::<Codebook<Iq1>, Bytes<1>>::NEW,
        Format::Iq1M => &Strip::<Codebook<Iq1>, Bytes<2>>::NEW,
        Format::Iq2Xxs => &Strip::<Codebook<Iq2>, Bytes<1>>::NEW,
        Format::Iq2Xs | Format::Iq2S => &Strip::<Codebook<Iq2>, Bytes<2>>::NEW,
        Format::Iq3Xxs => &Strip::<Codebook<Iq3Xxs>, Bytes<1>>::NEW,
        Format::Iq3S => &Strip::<Codebook<Iq3S>, Bytes<1>>::NEW,
        Format::Tq1_0 | Format::Tq2_0 => &Strip::<Codebook<Ternary>, Bytes<1>>::NEW,
        Format::Mxfp4 => &Strip::<Codebook<Mxfp4>, Singles>::NEW,
    }
}

impl<C: Codes, S: Scales> Layout for Strip<C, S> {
    fn quantizes_inputs(&self) -> bool {
        true
    }

    fn strip_bytes(&self, cols: usize) -> usize {
        Self::bytes(cols)
    }

    fn pack(&self, format: Format, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        Self::pack(format, rows, row_bytes, strip);
    }

    fn dequantize(&self, format: Format, bytes: &[u8], out: &mut [f32]) {
        Self::dequantize(format, bytes, out);
    }

    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]) {
        Self::row(strip, row, out);
    }

    fn multiply(&self, isa: Isa, job: &Job<'_>) {
        match isa {
            Isa::Scalar => integer::multiply_scalar::<C, S>(job),
            // SAFETY: the `Isa` proves that the CPU has the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => unsafe { integer::multiply::<Avx2, C, S>(job) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => unsafe { integer::multiply::<Avx512, C, S>(job) },
        }
    }
}

/// The layout of float formats.
struct Floats<E>(std::marker::PhantomData<fn() -> E>);

impl<E: Element> Floats<E> {
    const NEW: Self = Self(std::marker::PhantomData);
}

impl<E: Element> Layout for Floats<E> {
    fn quantizes_inputs(&self) -> bool {
        false
    }

    fn strip_bytes(&self, cols: usize) -> usize {
        cols * crate::quant::STRIP_ROWS * E::BYTES
    }

    fn pack(&self, _format: Format, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        float::pack::<E>(rows, row_bytes, strip);
    }

    fn dequantize(&self, _format: Format, bytes: &[u8], out: &mut [f32]) {
        float::dequantize::<E>(bytes, out);
    }

    fn row(&self, strip: &[u8], row: usize, out: &mut [f32]) {
        float::row::<E>(strip, row, out);
    }

    fn multiply(&self, isa: Isa, job: &Job<'_>) {
        match isa {
            Isa::Scalar => float::multiply_scalar::<E>(job),
            // SAFETY: the `Isa` proves that the CPU has the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => unsafe { float::multiply::<Avx2, E>(job) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => unsafe { float::multiply::<Avx512, E>(job) },
        }
    }
}
