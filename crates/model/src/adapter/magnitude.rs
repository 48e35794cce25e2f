//! How long the rows of the sum of a weight and a low-rank part are: what DoRA divides by.

use matou_kernels::rows::for_row_part;
use matou_kernels::{Context, PackedMatrix};

/// `[rows]` Euclidean lengths of the rows of `W + scale · B A`.
///
/// `a` is `[rank, columns]`, `b` `[rows, rank]`. Lengths are added up in f64.
pub(crate) fn row_lengths(
    context: &Context,
    weight: &PackedMatrix,
    (a, b): (&[f32], &[f32]),
    scale: f32,
) -> Vec<f32> {
    let columns = weight.cols();
    let rank = a.len() / columns;
    let mut lengths = vec![0.0; weight.rows()];
    let task = |rows: std::ops::Range<usize>, lengths: &mut [f32]| {
        let mut sum = vec![0.0; columns];
        for (row, length) in rows.zip(lengths) {
            weight.row(row, &mut sum);
            let factors = &b[row * rank..][..rank];
            for (factor, a) in factors.iter().zip(a.chunks_exact(columns)) {
                let factor = factor * scale;
                for (sum, a) in sum.iter_mut().zip(a) {
                    *sum += factor * a;
                }
            }
            let squares: f64 = sum.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            *length = squares.sqrt() as f32;
        }
    };
    // In groups, as a row is far more work than an element.
    const GROUP: usize = 16;
    let groups = lengths.len().div_ceil(GROUP);
    let mut grouped = lengths.chunks_mut(GROUP).collect::<Vec<_>>();
    for_row_part(context, groups, (&mut grouped, 1), |part, grouped| {
        for (group, lengths) in part.zip(grouped) {
            task(group * GROUP..group * GROUP + lengths.len(), lengths);
        }
    });
    drop(grouped);
    lengths
}

#[cfg(test)]
mod tests {
    use matou_kernels::{Format, Isa};

    use super::*;

    #[test]
    fn lengths_are_those_of_the_sum() {
        let context = Context::new(Isa::Scalar, 2);
        let bytes: Vec<u8> = [3.0f32, 0.0, 0.0, 1.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let weight = PackedMatrix::pack(&context, Format::F32, 2, 2, &bytes).unwrap();
        // Adds 2 · [0, 2] to the first row and 2 · [0, 0] to the second.
        let lengths = row_lengths(&context, &weight, (&[0.0, 2.0], &[1.0, 0.0]), 2.0);
        assert_eq!(lengths, [5.0, 1.0]);
    }
}
