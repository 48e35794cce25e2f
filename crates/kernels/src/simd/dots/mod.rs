//! Products of weights with 8-bit inputs: an extension of the lanes.
//!
//! The rows of a strip of weights fill 32-bit lanes: four columns of bytes, an integer, or a float
//! each. A register holds [`Dots::ROWS`] of them, all sixteen or half, since a product keeps more in
//! registers than pairs of narrow ones leave room for. A kernel is written once, over [`Dots`], and
//! compiled for each instruction set: everything below [`Dots::vectorize`] is `#[inline(always)]`, so
//! that it ends up inside the one function that carries `#[target_feature]`. A new instruction set is
//! one more file here. There is none for the scalar lanes: the reference of a product is written one
//! number at a time.

use super::Simd;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Columns that share a scale of the inputs.
pub(crate) const GROUP: usize = 32;

/// The unsigned values that weights have in a product.
pub(crate) trait ValueRange {
    /// The largest value.
    const MAX: u8;
    /// Subtracted from every value: the weight is `scale · (value − OFFSET)`.
    const OFFSET: i32;
}

/// Code to be compiled for an instruction set.
pub(crate) trait DotKernel {
    /// Does the work with the vectors of `V`.
    ///
    /// # Safety
    /// Only [`Dots::vectorize`] may call it, whose caller promises what the kernel asks for.
    unsafe fn run<V: Dots>(self, simd: V);
}

/// Vectors with one lane for each of [`Dots::ROWS`] rows of weights.
///
/// As with [`Simd`], the implementing type proves the instructions. What is unsafe reads through a
/// pointer, and needs as many bytes there as it says.
pub(crate) trait Dots: Simd {
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
    ///
    /// # Safety
    /// What the kernel asks of who makes it.
    unsafe fn vectorize<K: DotKernel>(self, kernel: K);

    /// The bits of the largest input without its sign; a NaN is the largest of all.
    fn largest_magnitude(self, x: &[f32; GROUP]) -> u32;
    /// `x · factor`, at most ±127, rounded to nearest, ties to even; and the sums of both halves.
    fn round(self, x: &[f32; GROUP], factor: f32) -> ([i8; GROUP], [i32; 2]);

    /// Four bytes for each row.
    unsafe fn load_bytes(self, bytes: *const u8) -> Self::Bytes;
    /// `a & mask` in each byte.
    fn and(self, a: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `a | b & mask` in each byte.
    fn or_masked(self, a: Self::Bytes, b: Self::Bytes, mask: u8) -> Self::Bytes;
    /// `a << N` in each pair of bytes; what crosses from one into the other is for the caller to
    /// mask.
    fn shift_left<const N: u32>(self, a: Self::Bytes) -> Self::Bytes;
    /// `a >> N`, likewise.
    fn shift_right<const N: u32>(self, a: Self::Bytes) -> Self::Bytes;
    /// `table[a]` for bytes below 16.
    fn lookup(self, table: &[u8; 16], a: Self::Bytes) -> Self::Bytes;

    /// Exact dot products of weights with inputs, for `COLUMNS` vectors of rows and `T` rows of
    /// inputs.
    ///
    /// `values[c]` are vectors of four columns each, `x[t]` points to the `4 · values[c].len()`
    /// inputs of these columns, and `starts[t]` is `−C::OFFSET` times their sum, in all lanes: to
    /// start from it leaves values unsigned. Gives `Σ (value − offset) · x`.
    unsafe fn dot<C: ValueRange, const COLUMNS: usize, const T: usize>(
        self,
        values: [&[Self::Bytes]; COLUMNS],
        x: [*const i8; T],
        starts: [Self::Ints; T],
    ) -> [[Self::Ints; T]; COLUMNS];
    /// `value` in every lane.
    fn splat_int(self, value: i32) -> Self::Ints;
    /// The same numbers as floats.
    fn to_floats(self, a: Self::Ints) -> Self::Floats;

    /// `value` in every lane.
    fn splat_rows(self, value: f32) -> Self::Floats;
    /// `a · b`
    fn mul_rows(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a + b`
    fn add_rows(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once.
    fn mul_add_rows(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// [`Dots::ROWS`] floats.
    unsafe fn load_rows_f32(self, from: *const u8) -> Self::Floats;
    /// [`Dots::ROWS`] half-precision numbers.
    unsafe fn load_rows_f16(self, from: *const u8) -> Self::Floats;
    /// [`Dots::ROWS`] upper halves of floats.
    unsafe fn load_rows_bf16(self, from: *const u8) -> Self::Floats;
    /// [`Dots::ROWS`] unsigned bytes.
    unsafe fn load_rows_u8(self, from: *const u8) -> Self::Floats;
    /// [`Dots::ROWS`] signed bytes.
    unsafe fn load_rows_i8(self, from: *const u8) -> Self::Floats;
    /// The low halves of [`Dots::ROWS`] bytes.
    unsafe fn load_rows_low_nibbles(self, from: *const u8) -> Self::Floats;
    /// The high halves of [`Dots::ROWS`] bytes.
    unsafe fn load_rows_high_nibbles(self, from: *const u8) -> Self::Floats;

    /// Writes the leading `to.len()` lanes, at most [`Dots::ROWS`].
    fn store_rows(self, a: Self::Floats, to: &mut [f32]);
}
