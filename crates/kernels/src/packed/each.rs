//! Several small products at once, each with inputs of its own: what adapters of one step are.
//!
//! A product of an adapter is some microseconds' work, little more than it costs to start a loop; all of
//! a layer's in one loop share that cost, and the threads.

use super::matrix::PackedMatrix;
use super::product::{TASK_TOKENS, matmul, part, task_bytes};
use crate::context::Context;
use crate::matmul::task::{Inputs, Output};
use crate::memory::SharedMut;

/// A product: `out[t, n] = x[t, k] · Wᵀ`.
pub struct Product<'a> {
    /// `W`, `[n, k]`.
    pub weight: &'a PackedMatrix,
    /// `[t, k]`
    pub x: &'a [f32],
    /// `[t, n]`
    pub out: &'a mut [f32],
}

struct Job<'a> {
    weight: &'a PackedMatrix,
    inputs: Inputs<'a>,
    out: Output<'a>,
    tokens: usize,
    /// Strips of a task, and tasks of a tile of tokens.
    cuts: (usize, usize),
    /// Number of its first task among those of all.
    first_task: usize,
}

/// Computes all of `products`. Each row of an output depends on its row of inputs alone, and is the same
/// bits as of [`matmul`].
///
/// # Panics
/// If `x` and `out` of a product do not hold the same number of rows of its matrix.
pub fn matmul_each(ctx: &Context, products: &mut [Product<'_>]) {
    if products
        .iter()
        .any(|product| product.weight.layout().quantizes_inputs())
    {
        for product in products {
            matmul(ctx, &[product.weight], product.x, product.out);
        }
        return;
    }
    let bytes: usize = products.iter().map(|product| product.weight.bytes()).sum();
    let task_bytes = task_bytes(ctx, bytes);
    let mut num_tasks = 0;
    let jobs: Vec<Job<'_>> = products
        .iter_mut()
        .map(|product| {
            let Product { weight, x, out } = product;
            let (weight, cols): (&PackedMatrix, usize) = (weight, weight.cols());
            let tokens = x.len() / cols;
            assert_eq!(x.len(), tokens * cols, "the input is whole rows of {cols}");
            let rows = weight.rows();
            assert_eq!(
                out.len(),
                tokens * rows,
                "the output is {tokens} rows of {rows}"
            );
            let job = Job {
                weight,
                inputs: Inputs {
                    cols,
                    floats: x,
                    quantized: &[],
                    groups: 0,
                    stride: 0,
                },
                out: Output {
                    data: SharedMut::new(out),
                    width: rows,
                    first: 0,
                },
                tokens,
                cuts: weight.cuts(task_bytes),
                first_task: num_tasks,
            };
            num_tasks += tokens.div_ceil(TASK_TOKENS) * job.cuts.1;
            job
        })
        .collect();
    ctx.pool().run(num_tasks, &|task| {
        let job = &jobs[jobs.partition_point(|job| job.first_task <= task) - 1];
        let task = task - job.first_task;
        let (strips, tasks) = job.cuts;
        let strip_range = part(task % tasks, strips, job.weight.strips());
        let token_range = part(task / tasks, TASK_TOKENS, job.tokens);
        job.weight
            .multiply(ctx.isa(), strip_range, job.inputs, token_range, job.out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::testing::contexts;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 7 + seed * 13) as f32 * 0.37).sin())
            .collect()
    }

    fn packed(
        ctx: &Context,
        format: Format,
        rows: usize,
        cols: usize,
        seed: usize,
    ) -> PackedMatrix {
        let values = values(rows * cols, seed);
        let bytes: Vec<u8> = match format {
            Format::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Format::F16 => values
                .iter()
                .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
                .collect(),
            // Any bits are numbers; the scales must be finite.
            _ => (0..rows * cols / 32)
                .flat_map(|i| [&[0, 0x2c][..], &[(i % 100) as u8; 32]].concat())
                .collect(),
        };
        PackedMatrix::pack(ctx, format, rows, cols, &bytes).unwrap()
    }

    #[test]
    fn each_product_is_that_of_the_matrix_alone() {
        for ctx in contexts() {
            for formats in [
                [Format::F32, Format::F16, Format::F32],
                [Format::F16, Format::Q8_0, Format::F32],
            ] {
                let shapes = [(16, 64, 1), (100, 96, 3), (33, 32, 200)];
                let weights: Vec<PackedMatrix> = shapes
                    .iter()
                    .zip(formats)
                    .enumerate()
                    .map(|(i, (&(rows, cols, _), format))| packed(&ctx, format, rows, cols, i))
                    .collect();
                let inputs: Vec<Vec<f32>> = shapes
                    .iter()
                    .enumerate()
                    .map(|(i, &(_, cols, tokens))| values(cols * tokens, i + 50))
                    .collect();
                let empty =
                    |&(rows, _, tokens): &(usize, usize, usize)| vec![f32::NAN; rows * tokens];
                let mut outs: Vec<Vec<f32>> = shapes.iter().map(empty).collect();
                let mut products: Vec<Product<'_>> = weights
                    .iter()
                    .zip(&inputs)
                    .zip(&mut outs)
                    .map(|((weight, x), out)| Product { weight, x, out })
                    .collect();
                matmul_each(&ctx, &mut products);
                for (i, out) in outs.iter().enumerate() {
                    let mut alone = empty(&shapes[i]);
                    matmul(&ctx, &[&weights[i]], &inputs[i], &mut alone);
                    assert_eq!(*out, alone, "{formats:?} {i}");
                }
            }
        }
    }

    #[test]
    fn no_products_are_nothing_to_do() {
        matmul_each(&contexts()[0], &mut []);
    }
}
