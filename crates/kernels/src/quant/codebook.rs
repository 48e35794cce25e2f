//! Codebooks: the IQ1, IQ2 and IQ3 formats, the ternary TQ1_0 and TQ2_0, and MXFP4.
//!
//! In the file, a few bits choose an entry of a grid of four or eight magnitudes at once, and signs
//! lie beside it. However they are spelled, the weights of each format have at most sixteen
//! values. In memory they are four-bit indices of these, as IQ4's are in the file already, so that
//! one code multiplies all of them, and nothing is rounded on the way.
//!
//! As GGUF stores them (256 weights, but for MXFP4's 32):
//!
//! ```text
//! IQ2_XXS  d:f16 │ 8 × (4 B grid entries │ u32: scale:4, 4 × signs:7)
//! IQ2_XS   d:f16 │ 32 × u16: signs:7, entry:9 │ 8 B scales
//! IQ2_S    d:f16 │ 32 B entries │ 32 B signs │ 8 B two more bits of 4 entries │ 8 B scales
//! IQ3_XXS  d:f16 │ 64 B entries │ 8 × u32: scale:4, 4 × signs:7
//! IQ3_S    d:f16 │ 64 B entries │ 8 B one more bit of 8 entries │ 32 B signs │ 4 B scales
//! IQ1_S    d:f16 │ 32 B entries │ 8 × u16: shift:1, scale:3, three more bits of 4 entries
//! IQ1_M    32 B entries │ 16 B: two of shift:1, more bits:3 │ 4 × u16: four bits of d, 4 × scale:3
//! TQ1_0    52 B of five (four) digits to base 3 │ d:f16
//! TQ2_0    64 B of two-bit codes │ d:f16
//! MXFP4    exponent:u8 │ 16 B: byte j = code j+16 │ code j
//! ```
#![allow(unsafe_code)] // vectors

use std::marker::PhantomData;

use half::f16;

use super::block::{Block, half_at};
use super::codes::{Codes, Group};
use super::description::StripCodes;
use super::four_bit::{nibble, pack_nibbles, read_nibbles, unpack_nibbles};
use super::low_bit::read_low_bits;
use crate::simd::dots::{Dots, ValueRange};

static IQ1_GRID: &[u8] = include_bytes!("grids/iq1.bin");
static IQ2_XXS_GRID: &[u8] = include_bytes!("grids/iq2_xxs.bin");
static IQ2_XS_GRID: &[u8] = include_bytes!("grids/iq2_xs.bin");
static IQ2_S_GRID: &[u8] = include_bytes!("grids/iq2_s.bin");
static IQ3_XXS_GRID: &[u8] = include_bytes!("grids/iq3_xxs.bin");
static IQ3_S_GRID: &[u8] = include_bytes!("grids/iq3_s.bin");

/// What the indices of a format stand for.
pub(crate) trait Values: 'static {
    /// The values, shifted up by 128 so that they are unsigned.
    const TABLE: [u8; 16];
}

/// A table of numbers.
const fn table(values: [i8; 16]) -> [u8; 16] {
    let mut shifted = [0; 16];
    let mut i = 0;
    while i < 16 {
        shifted[i] = values[i] as u8 ^ 0x80;
        i += 1;
    }
    shifted
}

/// A table of magnitudes: with the fourth bit set, an index stands for the negative.
const fn signed(magnitudes: [i8; 8]) -> [u8; 16] {
    let mut values = [0; 16];
    let mut i = 0;
    while i < 8 {
        values[i] = magnitudes[i];
        values[i + 8] = -magnitudes[i];
        i += 1;
    }
    table(values)
}

/// Of the IQ2 formats.
pub(crate) struct Iq2;
impl Values for Iq2 {
    const TABLE: [u8; 16] = signed([8, 25, 43, 0, 0, 0, 0, 0]);
}

/// Of IQ3_XXS.
pub(crate) struct Iq3Xxs;
impl Values for Iq3Xxs {
    const TABLE: [u8; 16] = signed([4, 12, 20, 28, 36, 44, 52, 62]);
}

/// Of IQ3_S.
pub(crate) struct Iq3S;
impl Values for Iq3S {
    const TABLE: [u8; 16] = signed([1, 3, 5, 7, 9, 11, 13, 15]);
}

/// Of the IQ1 formats, in eighths: −1, 0 or 1, shifted by one up or (with the third bit set) down.
pub(crate) struct Iq1;
impl Values for Iq1 {
    const TABLE: [u8; 16] = table([-7, 1, 9, 0, -9, -1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Of the ternary formats (TQ2_0 has a fourth code, though no writer makes it).
pub(crate) struct Ternary;
impl Values for Ternary {
    const TABLE: [u8; 16] = table([-1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Of the IQ4 formats.
pub(crate) struct Iq4;
impl Values for Iq4 {
    const TABLE: [u8; 16] = [
        1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
    ];
}

/// Of MXFP4, in halves: floats of two bits of exponent and one of mantissa.
pub(crate) struct Mxfp4;
impl Values for Mxfp4 {
    const TABLE: [u8; 16] = signed([0, 1, 2, 3, 4, 6, 8, 12]);
}

/// Indices of `T`'s values, laid out as in [`super::four_bit::FourBit`].
pub(crate) struct Codebook<T>(PhantomData<fn() -> T>);

impl<T: Values> ValueRange for Codebook<T> {
    const MAX: u8 = largest(T::TABLE);
    const OFFSET: i32 = 128;
}

impl<T: Values> Codes for Codebook<T> {
    const GROUP_BYTES: usize = 256;
    const LAYOUT: StripCodes = StripCodes::FourBit;
    const TABLE: Option<[u8; 16]> = Some(T::TABLE);

    fn decode(code: u8) -> u8 {
        T::TABLE[usize::from(code)]
    }

    fn pack(codes: &Group, out: &mut [u8]) {
        pack_nibbles(codes, out);
    }

    fn value(group: &[u8], vector: usize, byte: usize) -> u8 {
        Self::decode(nibble(group, vector, byte))
    }

    #[inline(always)]
    unsafe fn unpack<V: Dots>(simd: V, group: *const u8, part: usize) -> [V::Bytes; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = unpack_nibbles(simd, group, part);
            for vector in &mut vectors {
                *vector = simd.lookup(&T::TABLE, *vector);
            }
            vectors
        }
    }
}

const fn largest(table: [u8; 16]) -> u8 {
    let (mut max, mut i) = (0, 0);
    while i < 16 {
        if table[i] > max {
            max = table[i];
        }
        i += 1;
    }
    max
}

pub(crate) fn read_iq2_xxs(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.unit = 1.0 / 8.0;
    for (i, part) in bytes[2..].chunks_exact(8).enumerate() {
        let packed = u32_at(part, 4);
        block.sub_scales[i] = odd(packed >> 28);
        for (l, &entry) in part[..4].iter().enumerate() {
            let codes = &mut block.codes[32 * i + 8 * l..];
            put_eight(IQ2_XXS_GRID, entry.into(), signs(packed, l), codes);
        }
    }
}

pub(crate) fn read_iq2_xs(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.unit = 1.0 / 8.0;
    read_nibble_scales(&bytes[66..74], block);
    for (packed, codes) in bytes[2..66]
        .as_chunks::<2>()
        .0
        .iter()
        .zip(block.codes.chunks_exact_mut(8))
    {
        let packed = u16::from_le_bytes(*packed);
        let signs = signs(u32::from(packed >> 9), 0);
        put_eight(IQ2_XS_GRID, (packed & 511).into(), signs, codes);
    }
}

pub(crate) fn read_iq2_s(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.unit = 1.0 / 8.0;
    read_nibble_scales(&bytes[74..82], block);
    let (entries, signs, high) = (&bytes[2..34], &bytes[34..66], &bytes[66..74]);
    for (k, codes) in block.codes.chunks_exact_mut(8).enumerate() {
        let more = usize::from(high[k / 4] >> (2 * (k % 4)) & 3);
        let entry = usize::from(entries[k]) | more << 8;
        put_eight(IQ2_S_GRID, entry, signs[k], codes);
    }
}

pub(crate) fn read_iq3_xxs(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.unit = 1.0 / 4.0;
    for i in 0..8 {
        let packed = u32_at(bytes, 66 + 4 * i);
        block.sub_scales[i] = odd(packed >> 28);
        for l in 0..4 {
            let at = 2 + 8 * i + 2 * l;
            let entries = [bytes[at], bytes[at + 1]].map(usize::from);
            let codes = &mut block.codes[32 * i + 8 * l..];
            put_two_fours(IQ3_XXS_GRID, entries, signs(packed, l), codes);
        }
    }
}

pub(crate) fn read_iq3_s(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    let (entries, high, signs) = (&bytes[2..66], &bytes[66..74], &bytes[74..106]);
    for i in 0..8 {
        block.sub_scales[i] = odd(u32::from(bytes[106 + i / 2] >> (4 * (i % 2)) & 15));
        for l in 0..4 {
            let entry =
                |j: usize| usize::from(entries[8 * i + j]) | usize::from(high[i] >> j & 1) << 8;
            let codes = &mut block.codes[32 * i + 8 * l..];
            let pair = [entry(2 * l), entry(2 * l + 1)];
            put_two_fours(IQ3_S_GRID, pair, signs[4 * i + l], codes);
        }
    }
}

pub(crate) fn read_iq1_s(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 0);
    block.unit = 1.0 / 8.0;
    for i in 0..8 {
        let packed = u16::from_le_bytes([bytes[34 + 2 * i], bytes[35 + 2 * i]]);
        block.sub_scales[i] = odd(u32::from(packed >> 12 & 7));
        for l in 0..4 {
            let more = usize::from(packed >> (3 * l) & 7);
            let entry = usize::from(bytes[2 + 4 * i + l]) | more << 8;
            let codes = &mut block.codes[32 * i + 8 * l..];
            put_shifted(entry, packed >> 15 != 0, codes);
        }
    }
}

pub(crate) fn read_iq1_m(bytes: &[u8], block: &mut Block) {
    let packed = |i: usize| u16::from_le_bytes([bytes[48 + 2 * i], bytes[49 + 2 * i]]);
    let scale =
        packed(0) >> 12 | packed(1) >> 8 & 0xf0 | packed(2) >> 4 & 0xf00 | packed(3) & 0xf000;
    block.scale = f16::from_bits(scale);
    block.unit = 1.0 / 8.0;
    for i in 0..16 {
        block.sub_scales[i] = odd(u32::from(packed(i / 4) >> (3 * (i % 4)) & 7));
    }
    for (k, codes) in block.codes.chunks_exact_mut(8).enumerate() {
        let high = bytes[32 + k / 2] >> (4 * (k % 2));
        let entry = usize::from(bytes[k]) | usize::from(high & 7) << 8;
        put_shifted(entry, high & 8 != 0, codes);
    }
}

pub(crate) fn read_tq1_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 52);
    // Runs of bytes, of which first all first digits are read, then all second ones.
    let runs = [(&bytes[..32], 5), (&bytes[32..48], 5), (&bytes[48..52], 4)];
    let mut codes = block.codes.iter_mut();
    for (run, digits) in runs {
        let mut power = 1u8;
        for _ in 0..digits {
            for (byte, code) in run.iter().zip(&mut codes) {
                *code = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
            }
            power = power.wrapping_mul(3);
        }
    }
}

pub(crate) fn read_tq2_0(bytes: &[u8], block: &mut Block) {
    block.scale = half_at(bytes, 64);
    read_low_bits(&bytes[..64], &mut block.codes);
}

pub(crate) fn read_mxfp4(bytes: &[u8], block: &mut Block) {
    block.scale = f16::ONE;
    block.unit = half_power_of_two(bytes[0]);
    read_nibbles(&bytes[1..17], &mut block.codes[..32]);
}

/// `2^(exponent − 128)`: half of what the exponent says, as the table counts in halves.
fn half_power_of_two(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        // Below the normal numbers.
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}

/// The 16 scales of IQ2_XS and IQ2_S, four bits each.
fn read_nibble_scales(packed: &[u8], block: &mut Block) {
    for (i, scale) in block.sub_scales.iter_mut().enumerate() {
        *scale = odd(u32::from(packed[i / 2] >> (4 * (i % 2)) & 15));
    }
}

/// Scales of few bits stand for odd numbers.
fn odd(scale: u32) -> i8 {
    (2 * scale + 1) as i8
}

/// Eight signs out of the `l`th seven bits: the number of minuses is even.
fn signs(packed: u32, l: usize) -> u8 {
    let seven = (packed >> (7 * l) & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// An entry of a grid, which has as many as indices can say.
fn entry_of(grid: &[u8], entry: usize) -> u16 {
    u16::from_le_bytes([grid[2 * entry], grid[2 * entry + 1]])
}

/// The indices of an entry's eight magnitudes, two bits each, with signs.
fn put_eight(grid: &[u8], entry: usize, signs: u8, codes: &mut [u8]) {
    let entry = entry_of(grid, entry);
    for (j, code) in codes[..8].iter_mut().enumerate() {
        *code = (entry >> (2 * j) & 3) as u8 | (signs >> j & 1) << 3;
    }
}

/// The indices of two entries' four magnitudes, four bits each, with signs.
fn put_two_fours(grid: &[u8], entries: [usize; 2], signs: u8, codes: &mut [u8]) {
    for (half, entry) in entries.into_iter().enumerate() {
        let entry = entry_of(grid, entry);
        for j in 0..4 {
            let magnitude = (entry >> (4 * j) & 7) as u8;
            codes[4 * half + j] = magnitude | (signs >> (4 * half + j) & 1) << 3;
        }
    }
}

/// The indices of an IQ1 entry's eight weights, all shifted up or down.
fn put_shifted(entry: usize, down: bool, codes: &mut [u8]) {
    let entry = entry_of(IQ1_GRID, entry);
    for (j, code) in codes[..8].iter_mut().enumerate() {
        *code = (entry >> (2 * j) & 3) as u8 | u8::from(down) << 2;
    }
}
