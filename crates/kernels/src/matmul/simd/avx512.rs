//! 512-bit vectors: the 16 rows of a strip.

use std::arch::x86_64::*;

use super::{Kernel, Simd};
use crate::dispatch::Avx512;
use crate::quant::Codes;

impl Simd for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;

    const ROWS: usize = 16;
    // Of 32 registers: 8 sums, 8 unpacked vectors, the integers in flight, scales and minima.
    const MAX_TILE: usize = 8;

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx2,fma,f16c"
    )]
    unsafe fn vectorize<K: Kernel>(kernel: K) {
        // SAFETY: this is `vectorize`.
        unsafe { kernel.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const u8) -> __m512i {
        // SAFETY: the trait's contract, here and below: the instructions exist, the pointers are good.
        unsafe { _mm512_loadu_si512(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn and(a: __m512i, mask: u8) -> __m512i {
        // SAFETY: as in `load`.
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    unsafe fn or_masked(a: __m512i, b: __m512i, mask: u8) -> __m512i {
        // Bit 4·a + 2·b + mask of the immediate is the result: a | (b & mask).
        // SAFETY: as in `load`.
        unsafe { _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as in `load`.
        unsafe { _mm512_slli_epi16::<N>(a) }
    }

    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as in `load`.
        unsafe { _mm512_srli_epi16::<N>(a) }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], a: __m512i) -> __m512i {
        // SAFETY: as in `load`; the table has 16 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, a)
        }
    }

    #[inline(always)]
    unsafe fn dot<C: Codes>(values: &[__m512i], x: *const i8, negated_sum: __m512i) -> __m512i {
        // SAFETY: as in `load`; there are four inputs for each vector.
        unsafe {
            // Starting from −offset · Σx costs a shift, and values stay unsigned.
            let mut sum = match C::OFFSET {
                0 => _mm512_setzero_si512(),
                4 => _mm512_slli_epi32::<2>(negated_sum),
                8 => _mm512_slli_epi32::<3>(negated_sum),
                16 => _mm512_slli_epi32::<4>(negated_sum),
                32 => _mm512_slli_epi32::<5>(negated_sum),
                128 => _mm512_slli_epi32::<7>(negated_sum),
                _ => unreachable!("no format has another offset"),
            };
            for (i, &values) in values.iter().enumerate() {
                let x = _mm512_set1_epi32(x.add(4 * i).cast::<i32>().read_unaligned());
                sum = _mm512_dpbusd_epi32(sum, values, x);
            }
            sum
        }
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m512i {
        // SAFETY: as in `load`.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn subtract(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: as in `load`.
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn to_floats(a: __m512i) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_low_nibbles(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)))
        }
    }

    #[inline(always)]
    unsafe fn load_high_nibbles(from: *const u8) -> __m512 {
        // SAFETY: as in `load`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes))
        }
    }

    #[inline(always)]
    unsafe fn load_rows(from: &[f32]) -> __m512 {
        // SAFETY: as in `load`; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(leading(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_rows(a: __m512, to: &mut [f32]) {
        // SAFETY: as in `load`; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), leading(to.len()), a) }
    }
}

/// The mask of the leading `rows` lanes.
#[inline(always)]
fn leading(rows: usize) -> __mmask16 {
    debug_assert!(rows <= 16);
    ((1_u32 << rows) - 1) as __mmask16
}
