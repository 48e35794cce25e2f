//! The few vector operations that the products are written in.
//!
//! A kernel is written once, over [`Simd`], and compiled for each instruction set: everything below
//! [`Simd::vectorize`] is `#[inline(always)]`, so that it ends up inside the one function that
//! carries `#[target_feature]`. A new instruction set is one more file here.

use super::inputs::InputGroup;
use crate::quant::Codes;
use crate::quant::strip::GROUP;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Code to be compiled for an instruction set.
pub(crate) trait Kernel {
    /// Does the work with the vectors of `V`.
    ///
    /// # Safety
    /// Only [`Simd::vectorize`] may call it.
    unsafe fn run<V: Simd>(self);
}

/// Vectors with one lane for each of [`Simd::ROWS`] output rows.
///
/// # Safety
/// All functions need the instructions of the implementing type; those that read through a pointer
/// need as many bytes there as they say.
pub(crate) trait Simd {
    /// Four bytes for each row: four consecutive columns.
    type Bytes: Copy;
    /// A 32-bit integer for each row.
    type Ints: Copy;
    /// A float for each row.
    type Floats: Copy;

    /// Rows of a vector.
    const ROWS: usize;
    /// Most rows of inputs, of 1, 2, 4, 8, that share weights in registers.
    const MAX_TILE: usize;
    /// Most rows of inputs, of 1, 2, 4, 6, that share two vectors of float weights.
    const FLOAT_TILE: usize;

    /// Compiles `kernel` with these instructions, and runs it.
    unsafe fn vectorize<K: Kernel>(kernel: K);

    /// Asks for the cache line at `address`, which need not exist, to be brought into L2.
    unsafe fn prefetch(address: *const u8);
    /// Rounds a group of inputs to eight bits.
    unsafe fn quantize(x: &[f32; GROUP]) -> InputGroup;

    /// Four bytes for each row.
    unsafe fn load(bytes: *const u8) -> Self::Bytes;
    /// `a & mask` in each byte.
    unsafe fn and(a: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `a | b & mask` in each byte.
    unsafe fn or_masked(a: Self::Bytes, b: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `a << N` in each pair of bytes; what crosses from one into the other is for the caller to
    /// mask.
    unsafe fn shift_left<const N: u32>(a: Self::Bytes) -> Self::Bytes;
    /// `a >> N`, likewise.
    unsafe fn shift_right<const N: u32>(a: Self::Bytes) -> Self::Bytes;
    /// `table[a]` for bytes below 16.
    unsafe fn lookup(table: &[u8; 16], a: Self::Bytes) -> Self::Bytes;

    /// Exact dot products of weights with inputs, for `COLUMNS` vectors of rows and `T` rows of
    /// inputs.
    ///
    /// `values[c]` are vectors of four columns each, `x[t]` points to the `4 · values[c].len()`
    /// inputs of these columns, and `starts[t]` is `−C::OFFSET` times their sum, in all lanes: to
    /// start from it leaves values unsigned. Gives `Σ (value − offset) · x`.
    unsafe fn dot<C: Codes, const COLUMNS: usize, const T: usize>(
        values: [&[Self::Bytes]; COLUMNS],
        x: [*const i8; T],
        starts: [Self::Ints; T],
    ) -> [[Self::Ints; T]; COLUMNS];
    /// `value` in every lane.
    unsafe fn splat_int(value: i32) -> Self::Ints;
    /// The same numbers as floats.
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self::Floats;
    /// `a · b`
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a + b`
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// [`Simd::ROWS`] floats.
    unsafe fn load_f32(from: *const u8) -> Self::Floats;
    /// [`Simd::ROWS`] half-precision numbers.
    unsafe fn load_f16(from: *const u8) -> Self::Floats;
    /// [`Simd::ROWS`] upper halves of floats.
    unsafe fn load_bf16(from: *const u8) -> Self::Floats;
    /// [`Simd::ROWS`] unsigned bytes.
    unsafe fn load_u8(from: *const u8) -> Self::Floats;
    /// [`Simd::ROWS`] signed bytes.
    unsafe fn load_i8(from: *const u8) -> Self::Floats;
    /// The low halves of [`Simd::ROWS`] bytes.
    unsafe fn load_low_nibbles(from: *const u8) -> Self::Floats;
    /// The high halves of [`Simd::ROWS`] bytes.
    unsafe fn load_high_nibbles(from: *const u8) -> Self::Floats;

    /// Writes the leading `to.len()` lanes, at most [`Simd::ROWS`].
    unsafe fn store_rows(a: Self::Floats, to: &mut [f32]);
}
