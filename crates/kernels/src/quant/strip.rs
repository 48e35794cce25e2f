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
//! A 32-bit lane belongs to one row: the dot product of four columns lands in the lane of its row, and no sum ever
//! crosses lanes. Rows that the matrix does not have, and columns beyond its last, are zeros.

use std::marker::PhantomData;

use super::scales::Scales;
use super::{Block, Codes, Group};
use crate::format::Format;

/// Columns of a group: those that share a scale of the inputs.
pub(crate) const GROUP: usize = 32;

/// A layout of strips: how codes and how scales are stored.
pub(crate) struct Strip<C, S>(PhantomData<fn() -> (C, S)>);

impl<C: Codes, S: Scales> Strip<C, S> {
    pub(crate) const NEW: Self = Self(PhantomData);
    /// Bytes of a block.
    pub(crate) const BLOCK_BYTES: usize = S::BYTES + S::GROUPS * C::GROUP_BYTES;

    /// Bytes of a strip of `cols` columns.
    pub(crate) fn bytes(cols: usize) -> usize {
        cols.div_ceil(GROUP * S::GROUPS) * Self::BLOCK_BYTES
    }

    /// Packs up to 16 rows, given in GGUF's layout with `row_bytes` each, into `strip`.
    pub(crate) fn pack(format: Format, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
        let groups_read = format.block_size() / GROUP;
        let mut block = Block::new();
        let mut groups = [[[0; 64]; 8]; 8];
        for (i, first_group) in (0..row_bytes / format.block_bytes()).map(|i| (i, i * groups_read))
        {
            let target =
                &mut strip[first_group / S::GROUPS * Self::BLOCK_BYTES..][..Self::BLOCK_BYTES];
            let (header, codes) = target.split_at_mut(S::BYTES);
            for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
                block.read(
                    format,
                    &row[i * format.block_bytes()..][..format.block_bytes()],
                );
                S::pack(&block, first_group % S::GROUPS, r, header);
                for (group, codes) in groups
                    .iter_mut()
                    .zip(block.codes[..format.block_size()].chunks_exact(GROUP))
                {
                    scatter(codes, r, group);
                }
            }
            let codes =
                codes[first_group % S::GROUPS * C::GROUP_BYTES..].chunks_exact_mut(C::GROUP_BYTES);
            for (group, out) in groups[..groups_read].iter().zip(codes) {
                C::pack(group, out);
            }
        }
    }

    /// Dequantises row `row` of a strip, rounding as [`dequantize`](super::dequantize) does.
    pub(crate) fn row(strip: &[u8], row: usize, out: &mut [f32]) {
        for (g, out) in out.chunks_mut(GROUP).enumerate() {
            let block = &strip[g / S::GROUPS * Self::BLOCK_BYTES..];
            let (header, codes) = block.split_at(S::BYTES);
            let codes = &codes[g % S::GROUPS * C::GROUP_BYTES..][..C::GROUP_BYTES];
            for (sub, out) in out.chunks_mut(GROUP / S::SUBS).enumerate() {
                let scale = S::scale(header, g % S::GROUPS, sub, row);
                for (i, out) in out.iter_mut().enumerate() {
                    let column = sub * (GROUP / S::SUBS) + i;
                    let value = C::value(codes, column / 4, 4 * row + column % 4);
                    *out = scale * (i32::from(value) - C::OFFSET) as f32;
                }
                if S::MINIMA {
                    let minimum = S::minimum(header, g % S::GROUPS, sub, row);
                    out.iter_mut().for_each(|weight| *weight += minimum);
                }
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
