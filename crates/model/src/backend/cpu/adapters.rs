//! Computes what adapters change of the outputs of a linear layer, with matou's kernels.
//!
//! All adapters of a step are computed together: first A x of each, then B of that, each in one loop
//! over all threads; what they give is added to the rows at last. Each row depends on its own inputs
//! alone: products are those of the kernels, and what is added to a row is added in the order of the
//! modules, whoever else is in the step.

use std::ops::Range;

use matou_kernels::rows::{ELEMENTS_PER_TASK, for_row_part};
use matou_kernels::{Context, PackedMatrix, Product, matmul_each};

use super::tensor::{CpuTensor, FreeBuffers, gather};
use crate::adapter::{
    Adapted, AdapterMath, AdapterMatrix, Part, TargetWeight, pack_matrix, row_lengths,
};
use crate::error::Result;
use crate::weights::TensorView;

/// What adapters for the kernels are loaded with.
pub(super) struct CpuMath(pub(super) Context);

impl AdapterMath for CpuMath {
    fn matrix(&self, name: &str, view: &TensorView<'_>) -> Result<AdapterMatrix> {
        Ok(AdapterMatrix::Packed(pack_matrix(&self.0, name, view)?))
    }

    fn row_lengths(
        &self,
        weight: &TargetWeight,
        low_rank: (&[f32], &[f32]),
        scale: f32,
    ) -> Option<Vec<f32>> {
        let TargetWeight::Packed(weight) = weight else {
            return None;
        };
        Some(row_lengths(&self.0, weight, low_rank, scale))
    }
}

/// Changes the outputs `y` `[tokens, Σ rows]` that the base has for `x` `[tokens, columns]`.
pub(super) fn apply(
    context: &Context,
    free: &FreeBuffers,
    adapted: &[Adapted<'_>],
    x: &CpuTensor,
    y: &mut CpuTensor,
) {
    let rows: Vec<u32> = adapted
        .iter()
        .flat_map(|(_, rows)| rows.iter().copied())
        .collect();
    let (tokens, columns) = x.shape();
    let gathered;
    let is_all = rows.len() == tokens && rows.is_sorted();
    let x = match is_all {
        true => x.data(),
        false => {
            gathered = gather(context, free, x, &rows);
            gathered.data()
        }
    };
    let jobs = jobs(adapted);
    replace(context, free, &jobs, x, columns, y);
    let (mut ranks, mut widths) = (0, 0);
    for job in &jobs {
        if let Some((a, b)) = job.pair() {
            ranks += job.rows.len() * a.rows();
            widths += job.rows.len() * b.rows();
        }
    }
    let hidden = free.produce((1, ranks), |hidden| {
        down(context, &jobs, x, columns, hidden)
    });
    let values = free.produce((1, widths), |values| {
        up(context, &jobs, hidden.data(), values)
    });
    let mut values = values.data();
    for job in &jobs {
        let own = job.pair().map(|_| {
            let (own, others) = values.split_at(job.rows.len() * job.part.rows);
            values = others;
            own
        });
        add(context, job, y, own);
    }
}

/// What is to be computed for one module.
struct Job<'a> {
    part: &'a Part,
    /// The rows of the step.
    rows: &'a [u32],
    /// Where its inputs begin among those that were gathered.
    first: usize,
}

impl Job<'_> {
    /// A and B, if there are any.
    fn pair(&self) -> Option<(&PackedMatrix, &PackedMatrix)> {
        let low_rank = self.part.low_rank.as_ref()?;
        match (&low_rank.a, &low_rank.b) {
            (AdapterMatrix::Packed(a), AdapterMatrix::Packed(b)) => Some((a, b)),
            _ => None,
        }
    }

    fn inputs<'x>(&self, x: &'x [f32], columns: usize) -> &'x [f32] {
        &x[self.first * columns..][..self.rows.len() * columns]
    }
}

fn jobs<'a>(adapted: &[Adapted<'a>]) -> Vec<Job<'a>> {
    let mut first = 0;
    let mut jobs = Vec::new();
    for &(linear, rows) in adapted {
        jobs.extend(linear.parts.iter().map(|part| Job { part, rows, first }));
        first += rows.len();
    }
    jobs
}

/// Puts the products with weights that stand in place of the base's into `y`.
fn replace(
    context: &Context,
    free: &FreeBuffers,
    jobs: &[Job<'_>],
    x: &[f32],
    columns: usize,
    y: &mut CpuTensor,
) {
    for job in jobs {
        let Some(AdapterMatrix::Packed(weight)) = &job.part.replaced else {
            continue;
        };
        let values = free.produce((job.rows.len(), weight.rows()), |out| {
            let x = job.inputs(x, columns);
            matmul_each(context, &mut [Product { weight, x, out }]);
        });
        change(context, y, job, Some(values.data()), &|_, y, value| {
            *y = value
        });
    }
}

/// A x of each module, one after the other.
fn down(context: &Context, jobs: &[Job<'_>], x: &[f32], columns: usize, mut hidden: &mut [f32]) {
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs {
        if let Some((weight, _)) = job.pair() {
            let (out, others) = hidden.split_at_mut(job.rows.len() * weight.rows());
            hidden = others;
            let x = job.inputs(x, columns);
            products.push(Product { weight, x, out });
        }
    }
    matmul_each(context, &mut products);
}

/// B of that, likewise.
fn up(context: &Context, jobs: &[Job<'_>], mut hidden: &[f32], mut values: &mut [f32]) {
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs {
        if let Some((_, weight)) = job.pair() {
            let (x, more) = hidden.split_at(job.rows.len() * weight.cols());
            let (out, others) = values.split_at_mut(job.rows.len() * weight.rows());
            (hidden, values) = (more, others);
            products.push(Product { weight, x, out });
        }
    }
    matmul_each(context, &mut products);
}

/// Adds what the low-rank part gives, if there is one, and the bias; stretches the rows.
fn add(context: &Context, job: &Job<'_>, y: &mut CpuTensor, values: Option<&[f32]>) {
    let part = job.part;
    let scale = part
        .low_rank
        .as_ref()
        .map_or(0.0, |low_rank| low_rank.scale);
    let bias = part.bias.as_deref();
    let bias_of = |column: usize| bias.map_or(0.0, |bias| bias[column]);
    match &part.stretch {
        Some(stretch) => change(context, y, job, values, &|column, y, value| {
            let base_bias = stretch.base_bias.get(column).copied().unwrap_or(0.0);
            let factor = stretch.factors[column];
            *y = (*y - base_bias + value * scale) * factor + base_bias + bias_of(column);
        }),
        None if bias.is_some() => change(context, y, job, values, &|column, y, value| {
            *y += value * scale + bias_of(column);
        }),
        None if values.is_some() => {
            change(context, y, job, values, &|_, y, value| *y += value * scale)
        }
        None => {}
    }
}

/// Changes the outputs of `job` in `y` by what stands in `values` `[rows, part.rows]`, or by zeros:
/// `work` gets the column, the output and the value.
fn change(
    context: &Context,
    y: &mut CpuTensor,
    job: &Job<'_>,
    values: Option<&[f32]>,
    work: &(impl Fn(usize, &mut f32, f32) + Sync),
) {
    let (tokens, width) = y.shape();
    let (rows, part) = (job.rows, job.part);
    let change_rows = |own: Range<usize>, y: &mut [f32]| {
        let place = |row: usize| rows.partition_point(|&it| (it as usize) < row);
        for i in place(own.start)..place(own.end) {
            let first = (rows[i] as usize - own.start) * width + part.start;
            let y = y[first..][..part.rows].iter_mut();
            match values {
                Some(values) => {
                    let pairs = y.zip(&values[i * part.rows..][..part.rows]).enumerate();
                    pairs.for_each(|(column, (y, value))| work(column, y, *value));
                }
                None => y.enumerate().for_each(|(column, y)| work(column, y, 0.0)),
            }
        }
    };
    // What is less than two tasks' work is not worth a loop over the threads.
    match rows.len() * part.rows < 2 * ELEMENTS_PER_TASK {
        true => change_rows(0..tokens, y.data_mut()),
        false => for_row_part(context, tokens, (y.data_mut(), width), change_rows),
    }
}
