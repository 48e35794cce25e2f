//! Strips: 16 rows of a quantised matrix, laid out so that one vector holds all of them.
//!
//! ```text
//! strip  = block, block, …                   a block is 64 or 256 columns, a multiple of 64 bytes
//! block  = scales (see `scales`) │ group, group, …
//! group  = the codes of 16 rows × 32 columns, as eight vectors of 64 codes (packed into fewer bits):
//!
//!          vector v    row 0             row 1                   row 15
//!                      4v 4v+1 4v+2 4v+3 │ 4v 4v+1 4v+2 4v+3 │ … │ 4v 4v+1 4v+2 4v+3     (columns)
//! ```
//!
//! A 32-bit lane belongs to one row: the dot product of four columns lands in the lane of its row,
//! and no sum ever crosses lanes. Rows that the matrix does not have, and columns beyond its last,
//! are zeros.

use std::marker::PhantomData;

use super::block::{Block, ReadBlock};
use super::codes::{Codes, Group};
use super::description::{QuantizedStrip, StripLayout};
use super::scales::Scales;
use crate::format::Format;
use crate::simd::dots::GROUP;

/// A layout of strips, and the format that is packed into them: how codes and how scales are stored.
pub(crate) struct Strip<C, S> {
    format: Format,
    read: ReadBlock,
    layout: PhantomData<fn() -> (C, S)>,
}

impl<C: Codes, S: Scales> Strip<C, S> {
    /// The layout for `format`, whose blocks `read` takes apart.
    pub(crate) const fn new(format: Format, read: ReadBlock) -> Self {
        Self {
            format,
            read,
            layout: PhantomData,
        }
    }

    /// Bytes of a block.
    pub(crate) const BLOCK_BYTES: usize = S::BYTES + S::GROUPS * C::GROUP_BYTES;

    /// What kernels outside this crate need to know.
    pub(crate) const LAYOUT: StripLayout = StripLayout::Quantized(QuantizedStrip {
        codes: C::LAYOUT,
        offset: C::OFFSET,
        table: C::TABLE,
        scales: S::LAYOUT,
        scales_of_group: S::SUBS,
        groups: S::GROUPS,
        header_bytes: S::BYTES,
        group_bytes: C::GROUP_BYTES,
    });

    /// Bytes of a strip of `cols` columns.
    pub(crate) fn bytes(cols: usize) -> usize {
        cols.div_ceil(GROUP * S::GROUPS) * Self::BLOCK_BYTES
    }

    /// Dequantises whole blocks of GGUF's layout.
    pub(crate) fn dequantize(&self, bytes: &[u8], out: &mut [f32]) {
        let mut block = Block::new();
        let blocks = bytes.chunks_exact(self.format.block_bytes());
        for (bytes, out) in blocks.zip(out.chunks_exact_mut(self.format.block_size())) {
            (self.read)(bytes, &mut block);
            for (sub, out) in out.chunks_exact_mut(GROUP / S::SUBS).enumerate() {
                let scale = block.scale.to_f32() * block.unit * f32::from(block.sub_scales[sub]);
                let minimum = block.minimum.to_f32() * f32::from(block.sub_minima[sub]);
                let codes = &block.codes[sub * out.len()..];
                Self::weights(
                    codes.iter().map(|&code| C::decode(code)),
                    scale,
                    minimum,
                    out,
                );
            }
        }
    }

    /// Weights of one scale and minimum, rounded as the GGUF reference rounds them.
    fn weights(values: impl Iterator<Item = u8>, scale: f32, minimum: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = scale * (i32::from(value) - C::OFFSET) as f32;
            // Not a zero where there are none: −0 + 0 is another number.
            if S::MINIMA {
                *out += minimum;
            }
        }
    }

    /// Packs up to 16 rows, given in GGUF's layout with `row_bytes` each, into `strip`.
    pub(crate) fn pack(&self, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        let (block_bytes, block_size) = (self.format.block_bytes(), self.format.block_size());
        let block_groups = block_size / GROUP;
        let mut block = Block::new();
        let mut groups = [[[0; 64]; 8]; 8];
        for i in 0..row_bytes / block_bytes {
            // A block of the file is a whole block of the strip, or one of its two groups.
            let (at, first) = (i * block_groups / S::GROUPS, i * block_groups % S::GROUPS);
            let target = &mut strip[at * Self::BLOCK_BYTES..][..Self::BLOCK_BYTES];
            let (header, codes) = target.split_at_mut(S::BYTES);
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                (self.read)(&row[i * block_bytes..][..block_bytes], &mut block);
                S::pack(&block, first, r, header);
                let codes = block.codes[..block_size].chunks_exact(GROUP);
                for (group, codes) in groups.iter_mut().zip(codes) {
                    scatter(codes, r, group);
                }
            }
            let targets = codes.chunks_exact_mut(C::GROUP_BYTES).skip(first);
            for (group, target) in groups.iter().zip(targets).take(block_groups) {
                C::pack(group, target);
            }
        }
    }

    /// Dequantises row `row` of a strip, rounding as [`Strip::dequantize`] does.
    pub(crate) fn row(strip: &[u8], row: usize, out: &mut [f32]) {
        for (g, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let block = &strip[g / S::GROUPS * Self::BLOCK_BYTES..];
            let (header, codes) = block.split_at(S::BYTES);
            let g = g % S::GROUPS;
            let codes = &codes[g * C::GROUP_BYTES..][..C::GROUP_BYTES];
            for (sub, out) in out.chunks_exact_mut(GROUP / S::SUBS).enumerate() {
                let scale = S::scale(header, g, sub, row);
                let minimum = S::minimum(header, g, sub, row);
                let columns = sub * out.len()..(sub + 1) * out.len();
                let values = columns.map(|k| C::value(codes, k / 4, 4 * row + k % 4));
                Self::weights(values, scale, minimum, out);
            }
        }
    }
}

/// Puts the 32 codes of row `row` where they belong in a group.
fn scatter(codes: &[u8], row: usize, group: &mut Group) {
    for (vector, codes) in group.iter_mut().zip(codes.as_chunks::<4>().0) {
        vector[4 * row..4 * row + 4].copy_from_slice(codes);
    }
}
