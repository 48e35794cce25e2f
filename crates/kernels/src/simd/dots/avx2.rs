//! 256-bit vectors: eight rows, half a strip.
#![allow(unsafe_code)] // vectors
#![expect(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and column"
)]

use std::arch::x86_64::*;

use super::{DotKernel, Dots, GROUP, ValueRange};
use crate::dispatch::Avx2;

impl Dots for Avx2 {
    type Bytes = __m256i;
    type Ints = __m256i;
    type Floats = __m256;

    const ROWS: usize = 8;
    // Of 16 registers: 8 unpacked vectors, 4 partial sums, an input, a product (the sums wait in L1,
    // which costs a load and a store for 16 products).
    const MAX_TILE: usize = 4;
    // Of 16 registers: 8 sums, 2 vectors of weights, an input.
    const FLOAT_TILE: usize = 4;

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn vectorize<K: DotKernel>(self, kernel: K) {
        // SAFETY: this is `vectorize`.
        unsafe { kernel.run(self) }
    }

    #[inline(always)]
    fn largest_magnitude(self, x: &[f32; GROUP]) -> u32 {
        // SAFETY: here and below, the capability proves the features; what is read through a pointer
        // is a whole array, or the caller's promise.
        unsafe {
            let mut largest = _mm256_setzero_si256();
            for i in 0..4 {
                let size = _mm256_castps_si256(_mm256_loadu_ps(x.as_ptr().add(8 * i)));
                let size = _mm256_and_si256(size, _mm256_set1_epi32(0x7fff_ffff));
                largest = _mm256_max_epu32(largest, size);
            }
            reduce_max(largest)
        }
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], factor: f32) -> ([i8; GROUP], [i32; 2]) {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let factor = _mm256_set1_ps(factor);
            let mut rounded = [_mm256_setzero_si256(); 4];
            for (i, rounded) in rounded.iter_mut().enumerate() {
                let vector = _mm256_loadu_ps(x.as_ptr().add(8 * i));
                *rounded = _mm256_cvtps_epi32(_mm256_mul_ps(vector, factor));
            }
            // Packing works within 128-bit halves, and leaves fours of codes in the order 0 2 4 6 1
            // 3 5 7.
            let first = _mm256_packs_epi32(rounded[0], rounded[1]);
            let second = _mm256_packs_epi32(rounded[2], rounded[3]);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), order);
            let sums = [
                reduce_add(_mm256_add_epi32(rounded[0], rounded[1])),
                reduce_add(_mm256_add_epi32(rounded[2], rounded[3])),
            ];
            (std::mem::transmute::<__m256i, [i8; GROUP]>(codes), sums)
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, bytes: *const u8) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_loadu_si256(bytes.cast()) }
    }

    #[inline(always)]
    fn and(self, a: __m256i, mask: u8) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_and_si256(a, _mm256_set1_epi8(mask as i8)) }
    }

    #[inline(always)]
    fn or_masked(self, a: __m256i, b: __m256i, mask: u8) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_or_si256(a, _mm256_and_si256(b, _mm256_set1_epi8(mask as i8))) }
    }

    #[inline(always)]
    fn shift_left<const N: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_sll_epi16(a, _mm_cvtsi32_si128(N as i32)) }
    }

    #[inline(always)]
    fn shift_right<const N: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_srl_epi16(a, _mm_cvtsi32_si128(N as i32)) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], a: __m256i) -> __m256i {
        // SAFETY: as in `largest_magnitude`; the table has 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, a)
        }
    }

    #[inline(always)]
    unsafe fn dot<C: ValueRange, const COLUMNS: usize, const T: usize>(
        self,
        values: [&[__m256i]; COLUMNS],
        x: [*const i8; T],
        starts: [__m256i; T],
    ) -> [[__m256i; T]; COLUMNS] {
        // SAFETY: as in `largest_magnitude`; there are four inputs for each vector.
        unsafe {
            if C::OFFSET == 128 {
                dot_signed(values, x)
            } else {
                dot_unsigned::<C, COLUMNS, T>(values, x, starts)
            }
        }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> __m256i {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn to_floats(self, a: __m256i) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn splat_rows(self, value: f32) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn mul_rows(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add_rows(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add_rows(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn load_rows_f32(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_rows_f16(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_rows_bf16(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
        }
    }

    #[inline(always)]
    unsafe fn load_rows_u8(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_rows_i8(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_rows_low_nibbles(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15)))
        }
    }

    #[inline(always)]
    unsafe fn load_rows_high_nibbles(self, from: *const u8) -> __m256 {
        // SAFETY: as in `largest_magnitude`.
        unsafe {
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(bytes))
        }
    }

    #[inline(always)]
    fn store_rows(self, a: __m256, to: &mut [f32]) {
        // SAFETY: as in `largest_magnitude`; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), leading(to.len()), a) }
    }
}

/// The largest of eight unsigned integers.
#[inline(always)]
unsafe fn reduce_max(a: __m256i) -> u32 {
    // SAFETY: the caller's, who is in `Dots`.
    unsafe {
        let a = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let a = _mm_max_epu32(a, _mm_shuffle_epi32::<0b01_00_11_10>(a));
        let a = _mm_max_epu32(a, _mm_shuffle_epi32::<0b10_11_00_01>(a));
        _mm_cvtsi128_si32(a) as u32
    }
}

/// The sum of eight integers.
#[inline(always)]
unsafe fn reduce_add(a: __m256i) -> i32 {
    // SAFETY: the caller's, who is in `Dots`.
    unsafe {
        let a = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let a = _mm_add_epi32(a, _mm_shuffle_epi32::<0b01_00_11_10>(a));
        let a = _mm_add_epi32(a, _mm_shuffle_epi32::<0b10_11_00_01>(a));
        _mm_cvtsi128_si32(a)
    }
}

/// The `i`-th four inputs, for all rows.
#[inline(always)]
unsafe fn inputs(x: *const i8, i: usize) -> __m256i {
    // SAFETY: the caller's, who is in `Dots::dot`.
    unsafe { _mm256_set1_epi32(x.add(4 * i).cast::<i32>().read_unaligned()) }
}

/// `dot` for values that leave room in 16 bits for a sum of products.
#[inline(always)]
unsafe fn dot_unsigned<C: ValueRange, const COLUMNS: usize, const T: usize>(
    values: [&[__m256i]; COLUMNS],
    x: [*const i8; T],
    starts: [__m256i; T],
) -> [[__m256i; T]; COLUMNS] {
    // SAFETY: the caller's, who is `Dots::dot`.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [starts; COLUMNS];
        // `maddubs` adds two products into 16 bits; so many of its results fit before they must be
        // widened.
        let fit = i16::MAX as usize / (2 * 127 * C::MAX as usize);
        let vectors = values[0].len();
        for first in (0..vectors).step_by(fit) {
            let mut pairs = [[_mm256_setzero_si256(); T]; COLUMNS];
            for i in first..vectors.min(first + fit) {
                for t in 0..T {
                    let x = inputs(x[t], i);
                    for c in 0..COLUMNS {
                        let product = _mm256_maddubs_epi16(values[c][i], x);
                        pairs[c][t] = _mm256_add_epi16(pairs[c][t], product);
                    }
                }
            }
            for c in 0..COLUMNS {
                for t in 0..T {
                    let widened = _mm256_madd_epi16(pairs[c][t], ones);
                    sums[c][t] = _mm256_add_epi32(sums[c][t], widened);
                }
            }
        }
        sums
    }
}

/// `dot` for values of eight bits, which `maddubs` cannot take unsigned (2 · 127 · 255 > 32767). It
/// gets the size |value − 128| ≤ 128 instead, and the inputs the sign: 2 · 127 · 128 = 32512 just
/// fits.
#[inline(always)]
unsafe fn dot_signed<const COLUMNS: usize, const T: usize>(
    values: [&[__m256i]; COLUMNS],
    x: [*const i8; T],
) -> [[__m256i; T]; COLUMNS] {
    // SAFETY: the caller's, who is `Dots::dot`.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_si256(); T]; COLUMNS];
        for i in 0..values[0].len() {
            for c in 0..COLUMNS {
                let signed = _mm256_xor_si256(values[c][i], _mm256_set1_epi8(-128));
                let size = _mm256_abs_epi8(signed);
                for t in 0..T {
                    let x = _mm256_sign_epi8(inputs(x[t], i), signed);
                    let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(size, x), ones);
                    sums[c][t] = _mm256_add_epi32(sums[c][t], pairs);
                }
            }
        }
        sums
    }
}

/// A mask of the leading `rows` lanes.
#[inline(always)]
unsafe fn leading(rows: usize) -> __m256i {
    // SAFETY: the caller's, who is in `Dots`.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(rows as i32), lanes)
    }
}
