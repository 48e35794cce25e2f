//! The matrix product of every format on every instruction set: against exact arithmetic, against
//! the scalar reference, and against itself in other company.

use half::f16;
use matou_kernels::dispatch::Isa;
use matou_kernels::{Context, Format, PackedMatrix, dequantize, matmul};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Rows, columns in blocks. Rows that are not whole strips, blocks that are not whole pairs.
const SHAPES: [(usize, usize); 7] = [
    (1, 1),
    (15, 2),
    (16, 3),
    (17, 1),
    (40, 5),
    (33, 2),
    (100, 18),
];

/// What the bytes of the codes are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Codes {
    Random,
    /// All bits set, or all clear: the largest values and the smallest.
    All(u8),
}

/// The columns of a shape: 256-wide blocks need fewer.
fn cols(format: Format, blocks: usize) -> usize {
    match format.block_size() {
        1 => 13 * blocks,
        256 => 256 * blocks.div_ceil(3),
        block => block * blocks,
    }
}

/// A matrix in GGUF's layout.
fn weights(format: Format, rows: usize, cols: usize, codes: Codes, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; rows * format.row_bytes(cols).expect("whole blocks")];
    match codes {
        Codes::Random => rng.fill_bytes(&mut bytes),
        Codes::All(byte) => bytes.fill(byte),
    }
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let value: f32 = rng.random_range(-1.0..1.0);
        match format {
            Format::F32 => block.copy_from_slice(&value.to_le_bytes()),
            Format::F16 => block.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
            Format::Bf16 => block.copy_from_slice(&value.to_le_bytes()[2..]),
            Format::Mxfp4 => block[0] = rng.random_range(118..125),
            Format::Iq1M => {
                // The scale is in the upper four bits of four words.
                let scale = f16::from_f32(rng.random_range(-0.1..0.1)).to_bits();
                for (i, word) in block[48..].as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    word[1] = word[1] & 15 | (scale >> (4 * i) << 4) as u8;
                }
            }
            _ => {
                for &at in halves(format) {
                    let scale = f16::from_f32(rng.random_range(-0.1..0.1));
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// Where a block has half-precision numbers.
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
        Format::Tq1_0 => &[52],
        Format::Tq2_0 => &[64],
        _ => &[0],
    }
}

/// Inputs that 8 bits hold exactly: whole numbers, the largest of each 32 being 127.
fn whole_inputs(rows: usize, cols: usize, rng: &mut StdRng) -> Vec<f32> {
    let mut x: Vec<f32> = (0..rows * cols)
        .map(|_| rng.random_range(-127..=127) as f32)
        .collect();
    for group in x.chunks_mut(32) {
        group[rng.random_range(0..group.len())] = if rng.random() { 127.0 } else { -127.0 };
    }
    x
}

fn float_inputs(rows: usize, cols: usize, rng: &mut StdRng) -> Vec<f32> {
    (0..rows * cols)
        .map(|_| rng.random_range(-3.0..3.0))
        .collect()
}

fn product(ctx: &Context, ws: &[&PackedMatrix], x: &[f32]) -> Vec<f32> {
    let width: usize = ws.iter().map(|w| w.rows()).sum();
    let mut out = vec![f32::NAN; x.len() / ws[0].cols() * width];
    matmul(ctx, ws, x, &mut out);
    out
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|x| x.to_bits()).collect()
}

/// Each output, and the sum of the sizes of its products: the measure of what rounding may do.
fn exact_product(format: Format, bytes: &[u8], cols: usize, x: &[f32]) -> Vec<(f64, f64)> {
    let mut w = vec![0.0; bytes.len() / format.block_bytes() * format.block_size()];
    dequantize(format, bytes, &mut w).expect("whole blocks");
    let dot = |x: &[f32], w: &[f32]| {
        x.iter().zip(w).fold((0.0, 0.0), |(sum, size), (&x, &w)| {
            let product = f64::from(x) * f64::from(w);
            (sum + product, size + product.abs())
        })
    };
    x.chunks_exact(cols)
        .flat_map(|x| w.chunks_exact(cols).map(move |w| dot(x, w)))
        .collect()
}

#[test]
fn inputs_of_eight_bits_give_the_exact_product() {
    let mut rng = StdRng::seed_from_u64(1);
    for format in Format::ALL {
        for (rows, blocks) in SHAPES {
            for codes in [Codes::Random, Codes::All(0xff), Codes::All(0x00)] {
                let cols = cols(format, blocks);
                let bytes = weights(format, rows, cols, codes, &mut rng);
                let x = whole_inputs(3, cols, &mut rng);
                let exact = exact_product(format, &bytes, cols, &x);
                for isa in Isa::available() {
                    let ctx = Context::new(isa, 1);
                    let w = PackedMatrix::pack(&ctx, format, rows, cols, &bytes).unwrap();
                    for (i, (actual, (exact, size))) in
                        product(&ctx, &[&w], &x).iter().zip(&exact).enumerate()
                    {
                        // Formats with minima add numbers far larger than the sum of the products.
                        let bound = 2e-6 * size + 1e-4 * f64::from(u8::from(*size > 0.0));
                        assert!(
                            (f64::from(*actual) - exact).abs() <= bound,
                            "{format} {rows}×{cols} {codes:?} on {}, output {i}: {actual} for {exact}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_scalar_reference() {
    let mut rng = StdRng::seed_from_u64(2);
    let scalar = Context::new(Isa::Scalar, 1);
    for format in Format::ALL {
        for (rows, blocks) in SHAPES {
            for codes in [Codes::Random, Codes::All(0xff), Codes::All(0x00)] {
                let cols = cols(format, blocks);
                let bytes = weights(format, rows, cols, codes, &mut rng);
                let w = PackedMatrix::pack(&scalar, format, rows, cols, &bytes).unwrap();
                let extreme = |sign: f32| vec![sign * 127.0; 2 * cols];
                let random = float_inputs(11, cols, &mut rng);
                for x in [random, extreme(1.0), extreme(-1.0)] {
                    let expected = bits(&product(&scalar, &[&w], &x));
                    for isa in Isa::available() {
                        let actual = bits(&product(&Context::new(isa, 1), &[&w], &x));
                        assert!(
                            actual == expected,
                            "{format} {rows}×{cols} {codes:?} on {}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_in_any_batch_on_any_number_of_threads() {
    let mut rng = StdRng::seed_from_u64(3);
    for format in Format::ALL {
        let (rows, cols) = (70, cols(format, 50));
        let bytes = weights(format, rows, cols, Codes::Random, &mut rng);
        let x = float_inputs(200, cols, &mut rng);
        for isa in Isa::available() {
            let ctx = Context::new(isa, 1);
            let w = PackedMatrix::pack(&ctx, format, rows, cols, &bytes).unwrap();
            let batches = if isa == Isa::Scalar { 1..=3 } else { 1..=48 };
            let compared = if isa == Isa::Scalar { 3 } else { 200 };
            let alone: Vec<u32> = x[..compared * cols]
                .chunks_exact(cols)
                .flat_map(|x| bits(&product(&ctx, &[&w], x)))
                .collect();
            for threads in 1..=3 {
                let ctx = Context::new(isa, threads);
                for batch in batches.clone() {
                    let together = bits(&product(&ctx, &[&w], &x[..batch * cols]));
                    assert!(
                        together == alone[..batch * rows],
                        "{format} on {}: {batch} rows, {threads} threads",
                        isa.name()
                    );
                }
            }
            // Many rows take another path.
            for batch in [48, 49, 53, 200] {
                if isa != Isa::Scalar {
                    let ctx = Context::new(isa, 2);
                    let together = bits(&product(&ctx, &[&w], &x[..batch * cols]));
                    assert!(
                        together == alone[..batch * rows],
                        "{format} on {}: {batch} rows",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn matrices_that_share_inputs_put_their_outputs_side_by_side() {
    let mut rng = StdRng::seed_from_u64(4);
    let cols = 256;
    for isa in Isa::available() {
        let ctx = Context::new(isa, 2);
        let formats = [Format::Q4K, Format::Q6K, Format::F16];
        let ws = [(formats[0], 33), (formats[1], 16), (formats[2], 7)].map(|(format, rows)| {
            let bytes = weights(format, rows, cols, Codes::Random, &mut rng);
            PackedMatrix::pack(&ctx, format, rows, cols, &bytes).unwrap()
        });
        let x = float_inputs(5, cols, &mut rng);
        let together = product(&ctx, &[&ws[0], &ws[1], &ws[2]], &x);
        let alone = [0, 1, 2].map(|i| product(&ctx, &[&ws[i]], &x));
        for t in 0..5 {
            let expected: Vec<f32> = (0..3)
                .flat_map(|i| &alone[i][t * ws[i].rows()..(t + 1) * ws[i].rows()])
                .copied()
                .collect();
            assert_eq!(
                bits(&together[t * 56..(t + 1) * 56]),
                bits(&expected),
                "{}",
                isa.name()
            );
        }
    }
}

#[test]
fn rows_of_a_packed_matrix_are_the_rows_that_went_in() {
    let mut rng = StdRng::seed_from_u64(5);
    let ctx = Context::new(Isa::detect(), 2);
    for format in Format::ALL {
        let (rows, cols) = (19, cols(format, 7));
        let bytes = weights(format, rows, cols, Codes::Random, &mut rng);
        let w = PackedMatrix::pack(&ctx, format, rows, cols, &bytes).unwrap();
        let mut expected = vec![0.0; rows * cols];
        dequantize(format, &bytes, &mut expected).unwrap();
        for (r, expected) in expected.chunks_exact(cols).enumerate() {
            let mut row = vec![f32::NAN; cols];
            w.row(r, &mut row);
            assert_eq!(bits(&row), bits(expected), "{format}, row {r}");
        }
    }
}

#[test]
fn what_cannot_be_packed_is_refused_with_the_reason() {
    let ctx = Context::new(Isa::detect(), 1);
    let refused = |rows, cols, bytes: usize| {
        let error = PackedMatrix::pack(&ctx, Format::Q4_0, rows, cols, &vec![0; bytes]).err();
        error.expect("it should be refused").to_string()
    };
    assert_eq!(
        refused(2, 33, 36),
        "rows of 33 columns are not a whole number of Q4_0 blocks of 32"
    );
    assert_eq!(
        refused(0, 32, 0),
        "the matrix is empty: 0 rows of 32 columns"
    );
    assert_eq!(
        refused(2, 32, 35),
        "2 rows of 32 columns of Q4_0 take 36 bytes, but there are 35"
    );
    assert!(refused(usize::MAX, 64, 36).contains("take 18446744073709551615 bytes"));
}

#[test]
fn packed_weights_take_hardly_more_memory_than_the_file() {
    let ctx = Context::new(Isa::detect(), 1);
    for format in Format::ALL {
        let (rows, cols) = (64, 512);
        let bytes = vec![0; rows * format.row_bytes(cols).expect("whole blocks")];
        let w = PackedMatrix::pack(&ctx, format, rows, cols, &bytes).unwrap();
        // Entries of codebooks become four-bit indices of their values.
        let smallest = (rows * cols) as f64 * 4.75 / 8.0;
        let ratio = w.bytes() as f64 / (bytes.len() as f64).max(smallest);
        assert!(ratio < 1.06, "{format} takes {ratio} times its file");
    }
}
