//! Products of every format against a scalar reference of the same order of operations, bit for bit.

use half::f16;
use matou_kernels::{Context, Format, Isa, PackedMatrix};

use super::reference::{Record, reference};
use super::*;
use crate::device::Device;

/// The numbers of rows of inputs: every size of tile, tiles that are not full, and more than one.
const TOKENS: [usize; 8] = [1, 2, 3, 5, 8, 16, 17, 64];
const MOST_TOKENS: usize = 64;
/// Those for formats whose kernels differ from another's in how weights are read alone: to compile all
/// tiles of all formats takes half a minute on a software device.
const FEW_TOKENS: [usize; 3] = [1, 3, 4];
/// One format of each way to compute: with one or two scales, minima, an offset, a table, floats.
const EVERY_TILE: [Format; 7] = [
    Format::Q4_0,
    Format::Q8_0,
    Format::Q4K,
    Format::Q2K,
    Format::Q6K,
    Format::Iq2S,
    Format::F16,
];

fn stream() -> Option<Stream> {
    match Device::open(0) {
        Ok(device) => Some(device.stream()),
        Err(error) if std::env::var_os("MATOU_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("no GPU device: kernels on the GPU were not tested ({error})");
            None
        }
    }
}

/// Numbers that look random.
struct Random(u32);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Between −`size` and `size`.
    fn float(&mut self, size: f32) -> f32 {
        self.bits() as i32 as f32 / i32::MAX as f32 * size
    }

    fn floats(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.float(size)).collect()
    }

    /// A matrix in GGUF's layout: random bits, with scales that are numbers.
    fn weights(&mut self, format: Format, rows: usize, columns: usize) -> PackedMatrix {
        let len = rows * format.row_bytes(columns).unwrap();
        let mut bytes: Vec<u8> = (0..len).map(|_| (self.bits() >> 11) as u8).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            let value = self.float(1.0);
            let halves: &[usize] = match format {
                Format::F32 => {
                    block.copy_from_slice(&value.to_le_bytes());
                    &[]
                }
                Format::Bf16 => {
                    block.copy_from_slice(&value.to_le_bytes()[2..]);
                    &[]
                }
                Format::Mxfp4 => {
                    block[0] = 118 + (self.bits() >> 20) as u8 % 8;
                    &[]
                }
                Format::Iq1M => {
                    // The scale is in the upper four bits of four words.
                    let scale = f16::from_f32(0.1 * value).to_bits();
                    for i in 0..4 {
                        let upper = &mut block[49 + 2 * i];
                        *upper = *upper & 15 | (scale >> (4 * i) << 4) as u8;
                    }
                    &[]
                }
                Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
                Format::Q2K => &[80, 82],
                Format::Q3K => &[108],
                Format::Q6K => &[208],
                Format::Tq1_0 => &[52],
                Format::Tq2_0 => &[64],
                _ => &[0],
            };
            for &at in halves {
                let scale = f16::from_f32(self.float(0.1));
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        PackedMatrix::pack(&context(), format, rows, columns, &bytes).unwrap()
    }
}

fn context() -> Context {
    Context::new(Isa::Scalar, 1)
}

/// Rows and columns to try: rows that are not whole strips, blocks that are not whole pairs, and columns
/// that are loaded in several goes of which the last is not whole.
fn shapes(format: Format) -> [(usize, usize); 3] {
    match format.block_size() {
        1 => [(33, 77), (16, 32), (5, 300)],
        32 => [(33, 32 * 11), (16, 32), (40, 64 * 19)],
        _ => [(33, 256 * 2), (16, 256), (5, 256 * 5)],
    }
}

fn is_quantized(format: Format) -> bool {
    format.block_size() > 1
}

/// The records that the device makes of `x`.
fn records(stream: &Stream, x: &[f32], columns: usize, split: bool) -> Vec<u32> {
    let x = stream.upload(x, x.len() / columns, columns).unwrap();
    let records = stream.quantize(columns, &x, split).unwrap();
    let values = stream.read(&records).unwrap();
    values.iter().map(|value| value.to_bits()).collect()
}

#[track_caller]
fn assert_same_bits(actual: &[f32], expected: &[f32], what: &dyn std::fmt::Debug) {
    assert_eq!(actual.len(), expected.len(), "{what:?}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(
            actual.to_bits(),
            expected.to_bits(),
            "{what:?}, element {i}: {actual:e} for {expected:e}"
        );
    }
}

#[test]
fn products_are_the_bits_of_the_reference_in_any_batch() {
    let Some(stream) = stream() else { return };
    let mut random = Random(7);
    for format in Format::ALL {
        for (shape, (rows, columns)) in shapes(format).into_iter().enumerate() {
            let packed = random.weights(format, rows, columns);
            let matrix = stream.matrix(&[&packed]).unwrap();
            assert_eq!((matrix.rows(), matrix.columns()), (rows, columns));
            assert_eq!(matrix.bytes(), packed.bytes() as u64);
            let x = random.floats(MOST_TOKENS * columns, 3.0);
            let records = if is_quantized(format) {
                records(&stream, &x, columns, false)
            } else {
                Vec::new()
            };
            let expected = reference(&packed, &x, &records);
            let tokens: &[usize] = match shape {
                0 if EVERY_TILE.contains(&format) => &TOKENS,
                0 => &FEW_TOKENS,
                2 if EVERY_TILE.contains(&format) => &[1, 2, 3],
                _ => &[1, 3],
            };
            for &tokens in tokens {
                // The last rows, so that a row has other neighbours and another place each time.
                let first = MOST_TOKENS - tokens;
                let x = stream
                    .upload(&x[first * columns..], tokens, columns)
                    .unwrap();
                let y = stream.linear(&matrix, &x, None).unwrap();
                assert_same_bits(
                    &stream.read(&y).unwrap(),
                    &expected[first * rows..],
                    &(format, rows, columns, tokens),
                );
            }
        }
    }
}

#[test]
fn every_tile_is_warmed_up() {
    let warm: Vec<Tile> = WARM_UP_ROWS.iter().map(|&rows| Tile::of(rows)).collect();
    assert!((1..1000).all(|rows| warm.contains(&Tile::of(rows))));
}

#[test]
fn grids_hold_every_tile_of_rows_and_strips() {
    for (rows, strips) in [(1, 1), (17, 9), (33, 9001), (70_000, 3), (600_000, 88)] {
        // Stacks take rows one at a time however many there are.
        for tile in [Tile::of(rows), Tile::of(1)] {
            let [x, y, z] = tile.grid(rows, strips);
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            let tiles = rows.div_ceil(tile.tokens) * strips.div_ceil(tile.strips);
            let groups = x as usize * y as usize;
            assert!(tiles <= groups && groups < tiles + y as usize);
        }
    }
}

#[test]
fn products_are_close_to_the_kernels_of_the_cpu() {
    let Some(stream) = stream() else { return };
    let mut random = Random(11);
    for format in Format::ALL {
        let (rows, columns) = shapes(format)[0];
        let packed = random.weights(format, rows, columns);
        let matrix = stream.matrix(&[&packed]).unwrap();
        let x = random.floats(3 * columns, 1.0);
        let mut expected = vec![0.0; 3 * rows];
        matou_kernels::matmul(&context(), &[&packed], &x, &mut expected);
        let x = stream.upload(&x, 3, columns).unwrap();
        let actual = stream
            .read(&stream.linear(&matrix, &x, None).unwrap())
            .unwrap();
        let largest = expected.iter().fold(0.0f32, |max, y| max.max(y.abs()));
        for (actual, expected) in actual.iter().zip(&expected) {
            let error = (actual - expected).abs();
            assert!(error <= 1e-5 * largest, "{format}: {actual} for {expected}");
        }
    }
}

#[test]
fn rows_of_a_matrix_are_those_of_the_packed_matrix() {
    let Some(stream) = stream() else { return };
    let mut random = Random(13);
    for format in Format::ALL {
        let (rows, columns) = shapes(format)[0];
        let (first, second) = (
            random.weights(format, 32, columns),
            random.weights(format, rows, columns),
        );
        let matrix = stream.matrix(&[&first, &second]).unwrap();
        let ids = [64, 0, 31, 32, 17, 17, 50];
        let mut expected = vec![0.0; ids.len() * columns];
        for (&id, row) in ids.iter().zip(expected.chunks_exact_mut(columns)) {
            match id {
                0..32 => first.row(id as usize, row),
                _ => second.row(id as usize - 32, row),
            }
        }
        let ids = stream.indices(&ids).unwrap();
        let actual = stream.embed(&matrix, &ids).unwrap();
        assert_same_bits(&stream.read(&actual).unwrap(), &expected, &format);
    }
}

#[test]
fn matrices_lie_side_by_side_with_a_bias() {
    let Some(stream) = stream() else { return };
    let mut random = Random(17);
    let columns = 256;
    // Put together, cut off by rows that are not whole strips, other formats, floats.
    let parts = [
        (Format::Q4K, 32),
        (Format::Q4K, 16),
        (Format::Q4K, 7),
        (Format::Q4K, 16),
        (Format::F16, 20),
        (Format::Q8_0, 1),
    ];
    let packed = parts.map(|(format, rows)| random.weights(format, rows, columns));
    let all: Vec<&PackedMatrix> = packed.iter().collect();
    let matrix = stream.matrix(&all).unwrap();
    assert_eq!(matrix.pieces.len(), 4);
    let width = matrix.rows();
    let x = random.floats(5 * columns, 1.0);
    let bias = random.floats(width, 1.0);
    let records = records(&stream, &x, columns, false);
    let mut expected = vec![0.0; 5 * width];
    let mut first = 0;
    for packed in &packed {
        let part = reference(packed, &x, &records);
        for (row, part) in expected
            .chunks_exact_mut(width)
            .zip(part.chunks_exact(packed.rows()))
        {
            row[first..][..part.len()].copy_from_slice(part);
        }
        first += packed.rows();
    }
    let x = stream.upload(&x, 5, columns).unwrap();
    let y = stream.linear(&matrix, &x, None).unwrap();
    assert_same_bits(&stream.read(&y).unwrap(), &expected, &"without a bias");
    for row in expected.chunks_exact_mut(width) {
        for (y, bias) in row.iter_mut().zip(&bias) {
            *y += bias;
        }
    }
    let bias = stream.vector(&bias).unwrap();
    let y = stream.linear(&matrix, &x, Some(&bias)).unwrap();
    assert_same_bits(&stream.read(&y).unwrap(), &expected, &"with a bias");
}

#[test]
fn a_matrix_that_no_buffer_holds_is_cut() {
    let Some(stream) = stream() else { return };
    let mut random = Random(31);
    let columns = 512;
    let parts = [(Format::Q4K, 16), (Format::Q4K, 100), (Format::Q6K, 50)];
    let packed = parts.map(|(format, rows)| random.weights(format, rows, columns));
    let all: Vec<&PackedMatrix> = packed.iter().collect();
    let whole = stream.matrix(&all).unwrap();
    let cut = stream
        .matrix_within(&all, 3 * packed[0].strip_bytes() + 1)
        .unwrap();
    assert_eq!((whole.pieces.len(), whole.bytes()), (2, cut.bytes()));
    assert!(cut.pieces.len() >= 5, "{} pieces", cut.pieces.len());
    let x = random.floats(2 * columns, 1.0);
    let x = stream.upload(&x, 2, columns).unwrap();
    let ids: Vec<u32> = (0..166).collect();
    let ids = stream.indices(&ids).unwrap();
    let values = |matrix: &Matrix| {
        let y = stream.linear(matrix, &x, None).unwrap();
        let rows = stream.embed(matrix, &ids).unwrap();
        [stream.read(&y).unwrap(), stream.read(&rows).unwrap()].concat()
    };
    assert_same_bits(&values(&cut), &values(&whole), &"in pieces");
}

#[test]
fn a_split_input_leaves_little_of_the_rounding() {
    let Some(stream) = stream() else { return };
    let mut random = Random(19);
    for format in [Format::Q4K, Format::Q8_0, Format::Q6K, Format::F16] {
        let (rows, columns) = (40, 512);
        let packed = random.weights(format, rows, columns);
        let matrix = stream.matrix(&[&packed]).unwrap();
        let values = random.floats(3 * columns, 2.0);
        let x = stream.upload(&values, 3, columns).unwrap();
        let y = stream.linear_split(&matrix, &x).unwrap();
        assert_eq!((y.rows(), y.columns()), (3, rows));
        let y = stream.read(&y).unwrap();
        if is_quantized(format) {
            let records = records(&stream, &values, columns, true);
            let twice = [&values[..], &values].concat();
            let both = reference(&packed, &twice, &records);
            let (coarse, fine) = both.split_at(3 * rows);
            let sums: Vec<f32> = coarse.iter().zip(fine).map(|(a, b)| a + b).collect();
            assert_same_bits(&y, &sums, &format);
        }
        let mut weights = vec![0.0; columns];
        for row in 0..rows {
            packed.row(row, &mut weights);
            for (t, x) in values.chunks_exact(columns).enumerate() {
                let products = || x.iter().zip(&weights).map(|(x, w)| f64::from(x * w));
                let (sum, size): (f64, f64) = (products().sum(), products().map(f64::abs).sum());
                let error = (f64::from(y[t * rows + row]) - sum).abs();
                assert!(error <= 2e-5 * size, "{format}: {error} of {size}");
            }
        }
    }
}

#[test]
fn a_split_input_changes_nothing_for_floats_beside_quantised_matrices() {
    let Some(stream) = stream() else { return };
    let mut random = Random(41);
    let columns = 256;
    let packed = [
        random.weights(Format::Q8_0, 16, columns),
        random.weights(Format::F16, 20, columns),
    ];
    let x = random.floats(3 * columns, 2.0);
    let x = stream.upload(&x, 3, columns).unwrap();
    let y = |matrices: &[&PackedMatrix]| {
        let matrix = stream.matrix(matrices).unwrap();
        let y = stream.linear_split(&matrix, &x).unwrap();
        stream.read(&y).unwrap()
    };
    let both = y(&[&packed[0], &packed[1]]);
    for (part, at) in packed.iter().zip([0..16, 16..36]) {
        let rows = both.chunks_exact(36);
        let own: Vec<f32> = rows.flat_map(|row| row[at.clone()].to_vec()).collect();
        assert_same_bits(&own, &y(&[part]), &part.format());
    }
}

#[test]
fn inputs_are_rounded_as_on_the_cpu() {
    let Some(stream) = stream() else { return };
    let mut x = Random(23).floats(6 * 32, 1.0);
    x[32..64].fill(0.0);
    x[64..96].fill(-1e-37);
    x[96 + 9] = f32::NAN;
    x[128 + 31] = f32::NEG_INFINITY;
    let records = records(&stream, &x, 3 * 32, false);
    for (i, (record, x)) in records
        .chunks_exact(RECORD_WORDS)
        .zip(x.chunks_exact(32))
        .enumerate()
    {
        let codes: Vec<i32> = (0..32).map(|column| Record(record).code(column)).collect();
        let scale = Record(record).scale();
        match i {
            1 | 2 => assert_eq!(record, [0; RECORD_WORDS], "too small for an inverse"),
            3 | 4 => assert!(scale.is_nan(), "what is not finite stays visible"),
            _ => {
                assert_eq!(codes.iter().map(|code| code.abs()).max(), Some(127));
                for (code, x) in codes.iter().zip(x) {
                    let error = (scale * *code as f32 - x).abs();
                    assert!(error <= 0.5001 * scale, "{code} · {scale} for {x}");
                }
            }
        }
        let sum = |codes: &[i32]| codes.iter().sum::<i32>();
        assert_eq!(record[9], (sum(&codes) as f32).to_bits());
        assert_eq!(record[10], sum(&codes[..16]) as u32);
        assert_eq!(record[11], sum(&codes[16..]) as u32);
    }
}

#[test]
fn each_row_may_have_a_matrix_of_its_own() {
    let Some(stream) = stream() else { return };
    let mut random = Random(29);
    for format in [Format::Q4K, Format::Iq4Nl, Format::Bf16] {
        let (rows, columns) = (24, 256);
        let packed: Vec<PackedMatrix> = (0..5)
            .map(|_| random.weights(format, rows, columns))
            .collect();
        let stack = stream.stack(&packed.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((stack.matrices(), stack.rows()), (5, rows));
        let values = random.floats(4 * columns, 1.0);
        let x = stream.upload(&values, 4, columns).unwrap();
        let chosen = [4, 0, 0, 3, 2, 1, 1, 4];
        let matrix_of = stream.indices(&chosen).unwrap();
        let y = stream.linear_of(&stack, &x, &matrix_of).unwrap();
        let y = stream.read(&y).unwrap();
        for (i, (y, &chosen)) in y.chunks_exact(rows).zip(&chosen).enumerate() {
            let matrix = stream.matrix(&[&packed[chosen as usize]]).unwrap();
            let x = &values[i / 2 * columns..][..columns];
            let x = stream.upload(x, 1, columns).unwrap();
            let alone = stream.linear(&matrix, &x, None).unwrap();
            assert_same_bits(y, &stream.read(&alone).unwrap(), &(format, i));
        }
    }
}

#[test]
fn there_may_be_more_rows_than_workgroups_in_a_dimension() {
    let Some(stream) = stream() else { return };
    let mut random = Random(37);
    let (rows, columns, tokens) = (20, 32, 33_000);
    let packed = [(); 2].map(|()| random.weights(Format::F16, rows, columns));
    let stack = stream.stack(&[&packed[0], &packed[1]]).unwrap();
    let x = random.floats(tokens * columns, 1.0);
    let x = stream.upload(&x, tokens, columns).unwrap();
    let matrix_of = stream.indices(&[1, 0].repeat(tokens)).unwrap();
    let y = stream.linear_of(&stack, &x, &matrix_of).unwrap();
    let y = stream.read(&y).unwrap();
    let matrix = stream.matrix(&[&packed[1], &packed[0]]).unwrap();
    let both = stream.linear(&matrix, &x, None).unwrap();
    assert_same_bits(&y, &stream.read(&both).unwrap(), &tokens);
}
