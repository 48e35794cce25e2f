//! Four-bit codes with a scale and a zero point for each group of inputs, as GGUF's blocks.

use std::num::NonZero;
use std::thread;

use half::f16;
use matou_kernels::Format;

use super::super::TensorView;

/// Inputs of a block.
const BLOCK: usize = 32;
/// The zero point of symmetric quantisation.
const MIDDLE: u8 = 8;

/// A matrix by its parts: what is at input `i` and output `o`, and in group `g`.
pub(super) struct FourBit<C, Z, S> {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Inputs of a group: a multiple of 32, or it is the inputs of each group that are listed.
    pub(super) groups: Groups,
    /// `(i, o)` to 0–15.
    pub(super) code: C,
    /// `(g, o)` to 0–16.
    pub(super) zero: Z,
    /// `(g, o)`
    pub(super) scale: S,
}

/// Which group an input belongs to.
pub(super) enum Groups {
    /// Each so many inputs in a row.
    InOrder(usize),
    /// As listed: quantised in the order of activations.
    Listed(Vec<usize>),
}

impl<C, Z, S> FourBit<C, Z, S>
where
    C: Fn(usize, usize) -> u8 + Sync,
    Z: Fn(usize, usize) -> u8 + Sync,
    S: Fn(usize, usize) -> f16 + Sync,
{
    /// Packs the matrix, transposed to rows of outputs: as Q4_0 or Q5_0, or, where neighbours
    /// belong to different groups, as half-precision numbers.
    pub(super) fn pack(&self) -> TensorView<'static> {
        let format = self.format();
        let row_bytes = format.row_bytes(self.inputs).unwrap_or_default();
        let mut bytes = vec![0; row_bytes * self.outputs];
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = self.outputs.div_ceil(threads).max(1);
        thread::scope(|scope| {
            for (part, rows) in bytes.chunks_mut((share * row_bytes).max(1)).enumerate() {
                scope.spawn(move || {
                    for (row, target) in rows.chunks_exact_mut(row_bytes).enumerate() {
                        self.pack_row(format, part * share + row, target);
                    }
                });
            }
        });
        TensorView {
            format,
            shape: vec![self.outputs, self.inputs],
            bytes: bytes.into(),
            packed_as: None,
        }
    }

    fn format(&self) -> Format {
        match self.groups {
            Groups::InOrder(size)
                if size.is_multiple_of(BLOCK) && self.inputs.is_multiple_of(BLOCK) =>
            {
                let groups = self.inputs.div_ceil(size);
                let symmetric =
                    (0..groups).all(|g| (0..self.outputs).all(|o| (self.zero)(g, o) == MIDDLE));
                if symmetric {
                    Format::Q4_0
                } else {
                    Format::Q5_0
                }
            }
            _ => Format::F16,
        }
    }

    fn pack_row(&self, format: Format, output: usize, target: &mut [u8]) {
        if format == Format::F16 {
            for (input, half) in target.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let group = match &self.groups {
                    Groups::InOrder(size) => input / size,
                    Groups::Listed(groups) => groups[input],
                };
                let code = i32::from((self.code)(input, output));
                let value = code - i32::from((self.zero)(group, output));
                let scale = (self.scale)(group, output).to_f32();
                *half = f16::from_f32(scale * value as f32).to_le_bytes();
            }
            return;
        }
        let Groups::InOrder(size) = self.groups else {
            unreachable!("listed groups are not packed in blocks");
        };
        for (block, target) in target.chunks_exact_mut(format.block_bytes()).enumerate() {
            let group = block * BLOCK / size;
            let scale = (self.scale)(group, output);
            let code = |i: usize| (self.code)(BLOCK * block + i, output);
            target[..2].copy_from_slice(&scale.to_le_bytes());
            if format == Format::Q4_0 {
                for (j, byte) in target[2..].iter_mut().enumerate() {
                    *byte = code(j) | code(j + 16) << 4;
                }
                continue;
            }
            // Q5_0 subtracts 16: of codes from 0 to 15 and zero points up to 16, never too much.
            let zero = (self.zero)(group, output);
            let code = |i: usize| (code(i) + 16 - zero) & 31;
            let (fifths, nibbles) = target[2..].split_at_mut(4);
            for i in 0..BLOCK {
                fifths[i / 8] |= (code(i) >> 4) << (i % 8);
            }
            for (j, byte) in nibbles.iter_mut().enumerate() {
                *byte = code(j) & 15 | (code(j + 16) & 15) << 4;
            }
        }
    }
}
