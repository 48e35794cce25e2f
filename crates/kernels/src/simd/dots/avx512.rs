//! 512-bit vectors: the 16 rows of a strip.
#![allow(unsafe_code)] // vectors
#![expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and column"
)]

use std::arch::x86_64::*;

use super::{DotKernel, Dots, GROUP, ValueRange};
use crate::dispatch::Avx512;

impl Dots for Avx512 {
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
    unsafe fn vectorize<K: DotKernel>(self, kernel: K) {
        // SAFETY: this is `vectorize`.
        unsafe { kernel.run(self) }
    }

    #[inline(always)]
    fn largest_magnitude(self, x: &[f32; GROUP]) -> u32 {
        // SAFETY: here and below, the capability proves the features; what is read through a pointer
        // is a whole array, or the caller's promise.
        unsafe {
            let first = _mm512_loadu_si512(x.as_ptr().cast());
            let second = _mm512_loadu_si512(x.as_ptr().add(16).cast());
            let sign = _mm512_set1_epi32(i32::MIN);
            _mm512_reduce_max_epu32(_mm512_max_epu32(
                _mm512_andnot_si512(sign, first),
                _mm512_andnot_si512(sign, second),
            ))
        }
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], factor: f32) -> ([i8; GROUP], [i32; 2]) {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let factor = _mm512_set1_ps(factor);
            let first = _mm512_mul_ps(_mm512_loadu_ps(x.as_ptr()), factor);
            let second = _mm512_mul_ps(_mm512_loadu_ps(x.as_ptr().add(16)), factor);
            let (first, second) = (_mm512_cvtps_epi32(first), _mm512_cvtps_epi32(second));
            let codes = [_mm512_cvtepi32_epi8(first), _mm512_cvtepi32_epi8(second)];
            let sums = [
                _mm512_reduce_add_epi32(first),
                _mm512_reduce_add_epi32(second),
            ];
            let codes = std::mem::transmute::<[__m128i; 2], [i8; GROUP]>(codes);
            (codes, sums)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, bytes: *const u8) -> __m512i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_loadu_si512(bytes.cast()) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, mask: u8) -> __m512i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    fn or_masked(self, a: __m512i, b: __m512i, mask: u8) -> __m512i {
        // Bit 4·a + 2·b + mask of the immediate is the result: a | (b & mask).
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, _mm512_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    fn shift_left<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_slli_epi16::<N>(a) }
    }

    #[inline(always)]
    fn shift_right<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_srli_epi16::<N>(a) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: __m512i) -> __m512i {
        // SAFETY: as in `largest_magnitude`; the table has 16 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, a)
        }
    }

    #[inline(always)]
    unsafe fn dot<C: ValueRange, const COLUMNS: usize, const T: usize>(
        self,
        values: [&[__m512i]; COLUMNS],
        x: [*const i8; T],
        starts: [__m512i; T],
    ) -> [[__m512i; T]; COLUMNS] {
        // SAFETY: as in `largest_magnitude`; there are four inputs for each vector.
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
    fn splat_int(self, value: i32) -> __m512i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn to_floats(self, a: __m512i) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn splat_rows(self, value: f32) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn mul_rows(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add_rows(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add_rows(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load_rows_f32(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_rows_f16(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_rows_bf16(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn load_rows_u8(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_rows_i8(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_rows_low_nibbles(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)))
        }
    }

    #[inline(always)]
    unsafe fn load_rows_high_nibbles(self, from: *const u8) -> __m512 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes))
        }
    }

    #[inline(always)]
    fn store_rows(self, a: __m512, to: &mut [f32]) {
        // SAFETY: as in `largest_magnitude`; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), leading(to.len()), a) }
    }
}

/// The mask of the leading `rows` lanes.
#[inline(always)]
fn leading(rows: usize) -> __mmask16 {
    debug_assert!(rows <= 16);
    ((1_u32 << rows) - 1) as __mmask16
}
