//! 512-bit vectors: the 16 rows of a strip.
#![allow(unsafe_code)] // vectors
#![expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and column"
)]

use std::arch::x86_64::*;

use super::{Kernel, Simd};
use crate::dispatch::Avx512;
use crate::matmul::inputs::{InputGroup, scale_and_inverse};
use crate::quant::Codes;
use crate::quant::strip::GROUP;

impl Simd for Avx512 {
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;

    const ROWS: usize = 16;
    // Of 32 registers: 8 sums and 8 integer sums, 8 vectors of weights, scales, minima.
    const MAX_TILE: usize = 8;
    // Of 32 registers: 12 sums, 2 vectors of weights, an input.
    const FLOAT_TILE: usize = 6;

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,avx2,fma,f16c"
    )]
    unsafe fn vectorize<K: Kernel>(kernel: K) {
        // SAFETY: this is `vectorize`.
        unsafe { kernel.run::<Self>() }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn quantize(x: &[f32; GROUP]) -> InputGroup {
        // SAFETY: the trait's contract, here and below: the instructions exist, the pointers are
        // good.
        unsafe {
            let first = _mm512_loadu_ps(x.as_ptr());
            let second = _mm512_loadu_ps(x.as_ptr().add(16));
            let sign = _mm512_set1_epi32(i32::MIN);
            let largest = _mm512_max_epu32(
                _mm512_andnot_si512(sign, _mm512_castps_si512(first)),
                _mm512_andnot_si512(sign, _mm512_castps_si512(second)),
            );
            let largest = _mm512_reduce_max_epu32(largest);
            let (scale, inverse) = match scale_and_inverse(largest) {
                Ok(pair) => pair,
                Err(group) => return group,
            };
            let inverse = _mm512_set1_ps(inverse);
            let first = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
            let second = _mm512_cvtps_epi32(_mm512_mul_ps(second, inverse));
            let codes = [_mm512_cvtepi32_epi8(first), _mm512_cvtepi32_epi8(second)];
            let sums = [
                _mm512_reduce_add_epi32(first),
                _mm512_reduce_add_epi32(second),
            ];
            InputGroup::new(
                std::mem::transmute::<[__m128i; 2], [i8; GROUP]>(codes),
                scale,
                sums,
            )
        }
    }

    #[inline(always)]
    unsafe fn load(bytes: *const u8) -> __m512i {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_loadu_si512(bytes.cast()) }
    }

    #[inline(always)]
    unsafe fn and(a: __m512i, mask: u8) -> __m512i {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    unsafe fn or_masked(a: __m512i, b: __m512i, mask: u8) -> __m512i {
        // Bit 4·a + 2·b + mask of the immediate is the result: a | (b & mask).
        // SAFETY: as in `quantize`.
        unsafe { _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    unsafe fn shift_left<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_slli_epi16::<N>(a) }
    }

    #[inline(always)]
    unsafe fn shift_right<const N: u32>(a: __m512i) -> __m512i {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_srli_epi16::<N>(a) }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], a: __m512i) -> __m512i {
        // SAFETY: as in `quantize`; the table has 16 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, a)
        }
    }

    #[inline(always)]
    unsafe fn dot<C: Codes, const COLUMNS: usize, const T: usize>(
        values: [&[__m512i]; COLUMNS],
        x: [*const i8; T],
        starts: [__m512i; T],
    ) -> [[__m512i; T]; COLUMNS] {
        // SAFETY: as in `quantize`; there are four inputs for each vector.
        unsafe {
            let mut sums = [starts; COLUMNS];
            // Four columns at a time, for all sums: there are enough of them to hide the latency of
            // each.
            for i in 0..values[0].len() {
                for t in 0..T {
                    let x = _mm512_set1_epi32(x[t].add(4 * i).cast::<i32>().read_unaligned());
                    for c in 0..COLUMNS {
                        sums[c][t] = _mm512_dpbusd_epi32(sums[c][t], values[c][i], x);
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m512i {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    unsafe fn to_floats(a: __m512i) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load_f32(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_low_nibbles(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)))
        }
    }

    #[inline(always)]
    unsafe fn load_high_nibbles(from: *const u8) -> __m512 {
        // SAFETY: as in `quantize`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_rows(a: __m512, to: &mut [f32]) {
        // SAFETY: as in `quantize`; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), leading(to.len()), a) }
    }
}

/// The mask of the leading `rows` lanes.
#[inline(always)]
fn leading(rows: usize) -> __mmask16 {
    debug_assert!(rows <= 16);
    ((1_u32 << rows) - 1) as __mmask16
}
