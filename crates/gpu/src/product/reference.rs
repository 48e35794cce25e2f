//! Products one output at a time, in the order of operations that the kernels have.

use half::f16;
use matou_kernels::{
    PackedMatrix, QuantizedStrip, StripCodes, StripFloats, StripLayout, StripScales,
};

use super::{GROUP, RECORD_WORDS, SPLITS};
use crate::matrix::STRIP_ROWS;

/// 32 weights of a row, taken apart: values without their offset, scales and minima of the halves.
struct Group {
    values: [i32; 32],
    scales: [f32; 2],
    minima: [f32; 2],
}

fn half(bytes: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}

fn single(bytes: &[u8], i: usize) -> f32 {
    f32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap())
}

/// Reads a group as the description of the layout says.
fn group(layout: &QuantizedStrip, strip: &[u8], row: usize, g: usize) -> Group {
    let block_bytes = layout.header_bytes + layout.groups * layout.group_bytes;
    let block = &strip[g / layout.groups * block_bytes..][..block_bytes];
    let g = g % layout.groups;
    let (header, codes) = block.split_at(layout.header_bytes);
    let planes = &codes[g * layout.group_bytes..];
    let values = std::array::from_fn(|column| {
        let (v, i) = (column / 4, 4 * row + column % 4);
        let plane = |p: usize| planes[64 * p + i];
        let nibble = || plane(v % 4) >> (4 * (v / 4)) & 15;
        let pair = |p: usize| plane(p + v / 4) >> (2 * (v % 4)) & 3;
        let bit = |p: usize| plane(p) >> v & 1;
        let code = match layout.codes {
            StripCodes::TwoBit => pair(0),
            StripCodes::ThreeBit => pair(0) | bit(2) << 2,
            StripCodes::FourBit => nibble(),
            StripCodes::FiveBit => nibble() | bit(4) << 4,
            StripCodes::SixBit => nibble() | pair(4) << 4,
            StripCodes::EightBit => plane(v),
        };
        let value = layout.table.map_or(code, |table| table[usize::from(code)]);
        i32::from(value) - layout.offset
    });
    let of_group = layout.scales_of_group;
    let both = |scale: &dyn Fn(usize) -> f32| [scale(0), scale(of_group - 1)];
    let sub = |s: usize| 16 * (of_group * g + s) + row;
    let (scales, minima) = match layout.scales {
        StripScales::Halves => ([half(header, sub(0)); 2], [0.0; 2]),
        StripScales::HalvesMinima => {
            let minimum = half(header, 32 + sub(0));
            ([half(header, sub(0)); 2], [minimum; 2])
        }
        StripScales::Singles => ([single(header, sub(0)); 2], [0.0; 2]),
        StripScales::Bytes => {
            let scale = |s| single(header, row) * f32::from(header[64 + sub(s)] as i8);
            (both(&scale), [0.0; 2])
        }
        StripScales::BytesMinima => {
            let scale = |s| half(header, row) * f32::from(header[64 + sub(s)]);
            let minimum = |s| half(header, 16 + row) * f32::from(header[192 + sub(s)]);
            (both(&scale), both(&minimum))
        }
        StripScales::NibblesMinima => {
            let scale = |s| half(header, row) * f32::from(header[64 + sub(s)] & 15);
            let minimum = |s| half(header, 16 + row) * f32::from(header[64 + sub(s)] >> 4);
            (both(&scale), both(&minimum))
        }
    };
    Group {
        values,
        scales,
        minima,
    }
}

/// A record of inputs, as it comes from the device.
pub(super) struct Record<'a>(pub(super) &'a [u32]);

impl Record<'_> {
    pub(super) fn code(&self, column: usize) -> i32 {
        i32::from((self.0[column / 4] >> (8 * (column % 4))) as i8)
    }

    pub(super) fn scale(&self) -> f32 {
        f32::from_bits(self.0[8])
    }
}

/// One output of a quantised product.
fn quantized(layout: &QuantizedStrip, strip: &[u8], row: usize, records: &[u32]) -> f32 {
    let mut splits = [0.0f32; SPLITS];
    for (g, record) in records.chunks_exact(RECORD_WORDS).enumerate() {
        let (weights, record) = (group(layout, strip, row, g), Record(record));
        let dot = |columns: std::ops::Range<usize>| {
            let products = columns.map(|k| weights.values[k] * record.code(k));
            products.sum::<i32>() as f32
        };
        let sum =
            |columns: std::ops::Range<usize>| columns.map(|k| record.code(k)).sum::<i32>() as f32;
        let has_minima = layout.scales.has_minima();
        let mut r;
        if layout.scales_of_group == 2 {
            r = dot(0..16) * weights.scales[0];
            r += dot(16..32) * weights.scales[1];
            if has_minima {
                r += weights.minima[0] * sum(0..16);
                r += weights.minima[1] * sum(16..32);
            }
        } else {
            r = dot(0..32) * weights.scales[0];
            if has_minima {
                r += weights.minima[0] * sum(0..32);
            }
        }
        splits[g % SPLITS] += r * record.scale();
    }
    splits[1..].iter().fold(splits[0], |sum, split| sum + split)
}

/// One output of a product of floats.
fn floats(numbers: StripFloats, strip: &[u8], row: usize, x: &[f32]) -> f32 {
    let weight = |column: usize| {
        let i = 16 * column + row;
        match numbers {
            StripFloats::F32 => single(strip, i),
            StripFloats::F16 => half(strip, i),
            StripFloats::Bf16 => f32::from_le_bytes([0, 0, strip[2 * i], strip[2 * i + 1]]),
        }
    };
    let mut splits = [0.0f32; SPLITS];
    for (g, x) in x.chunks(GROUP).enumerate() {
        let mut sum = 0.0f32;
        for (i, x) in x.iter().enumerate() {
            sum += x * weight(g * GROUP + i);
        }
        splits[g % SPLITS] += sum;
    }
    splits[1..].iter().fold(splits[0], |sum, split| sum + split)
}

/// The product as the kernel's documentation says, from the records of the device where there are some.
pub(super) fn reference(matrix: &PackedMatrix, x: &[f32], records: &[u32]) -> Vec<f32> {
    let mut y = Vec::new();
    let columns = matrix.cols();
    let words = columns / GROUP * RECORD_WORDS;
    for token in 0..x.len() / columns {
        for row in 0..matrix.rows() {
            let strip = &matrix.data()[row / STRIP_ROWS * matrix.strip_bytes()..];
            let strip = &strip[..matrix.strip_bytes()];
            let row = row % STRIP_ROWS;
            y.push(match matrix.format().strip() {
                StripLayout::Quantized(layout) => {
                    let records = &records[token * words..][..words];
                    quantized(&layout, strip, row, records)
                }
                StripLayout::Floats(numbers) => {
                    floats(numbers, strip, row, &x[token * columns..][..columns])
                }
            });
        }
    }
    y
}
