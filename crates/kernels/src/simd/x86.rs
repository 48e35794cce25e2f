//! [`Simd`] with 512-bit and with pairs of 256-bit vectors.
#![allow(unsafe_code)] // intrinsics

use std::arch::x86_64::*;

use half::f16;

use super::{LANES, Simd};
use crate::dispatch::{Avx2, Avx512};

impl Simd for Avx512 {
    type F32 = __m512;

    const TILE: [usize; 2] = [6, 4];

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: here and below, the capability proves the features, and references to whole
        // arrays are valid for unaligned loads and stores.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], value: __m512) {
        // SAFETY: as in `splat`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn store_f16(self, to: &mut [f16; LANES], value: __m512) {
        // SAFETY: as in `splat`.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn zero_where_less(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b), c) }
    }
    #[inline(always)]
    fn add_to_exponent(self, a: __m512, n: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe {
            let shifted = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), shifted))
        }
    }
    #[inline(always)]
    fn equal(self, a: __m512, b: __m512) -> u16 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_reduce_max_ps(a) }
    }
}

/// Applies a 256-bit intrinsic to both halves.
macro_rules! halves {
    ($intrinsic:expr, $($operand:ident),+) => {
        // SAFETY: the capability proves the features.
        unsafe { [$intrinsic($($operand[0]),+), $intrinsic($($operand[1]),+)] }
    };
}

impl Simd for Avx2 {
    type F32 = [__m256; 2];

    const TILE: [usize; 2] = [6, 1];

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        // SAFETY: here and below, the capability proves the features, and references to whole
        // arrays are valid for unaligned loads and stores.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        // SAFETY: as in `splat`.
        unsafe {
            let from = from.as_ptr();
            [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F32 {
        // SAFETY: as in `splat`.
        unsafe {
            let from = from.as_ptr().cast::<__m128i>();
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from)),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
            ]
        }
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8; LANES]) -> Self::F32 {
        // SAFETY: as in `splat`.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let low = _mm256_cvtepi8_epi32(bytes);
            let high = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
        }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], value: Self::F32) {
        // SAFETY: as in `splat`.
        unsafe {
            let to = to.as_mut_ptr();
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    fn store_f16(self, to: &mut [f16; LANES], value: Self::F32) {
        // SAFETY: as in `splat`.
        unsafe {
            let to = to.as_mut_ptr().cast::<__m128i>();
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[0]);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[1]);
            _mm_storeu_si128(to, low);
            _mm_storeu_si128(to.add(1), high);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        halves!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        halves!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn zero_where_less(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        let keep = halves!(_mm256_cmp_ps::<_CMP_NLT_UQ>, a, b);
        halves!(_mm256_and_ps, keep, c)
    }
    #[inline(always)]
    fn add_to_exponent(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        let a = halves!(_mm256_castps_si256, a);
        let n = halves!(_mm256_castps_si256, n);
        let shifted = halves!(_mm256_slli_epi32::<23>, n);
        let sum = halves!(_mm256_add_epi32, a, shifted);
        halves!(_mm256_castsi256_ps, sum)
    }
    #[inline(always)]
    fn equal(self, a: Self::F32, b: Self::F32) -> u16 {
        let equal = halves!(_mm256_cmp_ps::<_CMP_EQ_OQ>, a, b);
        let [low, high] = halves!(_mm256_movemask_ps, equal);
        low as u16 | (high as u16) << 8
    }
    #[inline(always)]
    fn largest(self, a: Self::F32) -> f32 {
        // SAFETY: as in `splat`.
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
