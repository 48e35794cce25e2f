//! Computes what adapters change of the outputs of a linear layer, with matou's kernels.
//!
//! All adapters of a step are computed together: first A x of each, then B of that, each in one loop
//! over all threads; what they give is added to the rows at last. Each row depends on its own inputs
//! alone: products are those of the kernels, and what is added to a row is added in the order of the
//! modules, whoever else is in the step.

use std::ops::Range;

use candle_core::Tensor;
use matou_kernels::rows::{ELEMENTS_PER_TASK, for_row_part};
use matou_kernels::{PackedMatrix, Product, matmul_each};

use super::linear::{LinearAdapter, Part};
use super::matrix::Matrix;
use crate::compute::{Cpu, read, write};
use crate::error::Result;

/// An adapter of the layer, and the rows of the step that have it, which ascend.
pub(super) type Adapted<'a> = (&'a LinearAdapter, &'a [u32]);

/// Changes the outputs `y` `[tokens, Σ rows]` that the base has for `x` `[tokens, columns]`.
pub(super) fn apply(cpu: &Cpu, adapted: &[Adapted<'_>], x: &Tensor, y: &Tensor) -> Result<()> {
    let rows: Vec<u32> = adapted
        .iter()
        .flat_map(|(_, rows)| rows.iter().copied())
        .collect();
    let gathered;
    let is_all = rows.len() == x.dim(0)? && rows.is_sorted();
    let x = match is_all {
        true => x,
        false => {
            gathered = cpu.gather(x, &rows)?;
            &gathered
        }
    };
    let jobs = jobs(adapted);
    let columns = x.dim(1)?;
    read(x, |x| replace(cpu, &jobs, x, columns, y))??;
    let (mut ranks, mut widths) = (0, 0);
    for job in &jobs {
        if let Some((a, b)) = job.pair() {
            ranks += job.rows.len() * a.rows();
            widths += job.rows.len() * b.rows();
        }
    }
    let hidden = cpu.produce((1, ranks), |hidden| {
        read(x, |x| down(cpu, &jobs, x, columns, hidden))
    })?;
    let values = cpu.produce((1, widths), |values| {
        read(&hidden, |hidden| up(cpu, &jobs, hidden, values))
    })?;
    read(&values, |mut values| {
        for job in &jobs {
            let own = job.pair().map(|_| {
                let (own, others) = values.split_at(job.rows.len() * job.part.rows);
                values = others;
                own
            });
            job.part.add(cpu, y, job.rows, own)?;
        }
        Ok::<_, crate::error::ModelError>(())
    })??;
    cpu.recycle(hidden)?;
    cpu.recycle(values)
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
            (Matrix::Packed(a), Matrix::Packed(b)) => Some((a, b)),
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
fn replace(cpu: &Cpu, jobs: &[Job<'_>], x: &[f32], columns: usize, y: &Tensor) -> Result<()> {
    for job in jobs {
        let Some(Matrix::Packed(weight)) = &job.part.replaced else {
            continue;
        };
        let values = cpu.produce((job.rows.len(), weight.rows()), |out| {
            let x = job.inputs(x, columns);
            matmul_each(&cpu.context, &mut [Product { weight, x, out }]);
            Ok(())
        })?;
        read(&values, |values| {
            change(cpu, y, job.rows, job.part, Some(values), &|_, y, value| {
                *y = value
            })
        })??;
        cpu.recycle(values)?;
    }
    Ok(())
}

/// A x of each module, one after the other.
fn down(cpu: &Cpu, jobs: &[Job<'_>], x: &[f32], columns: usize, mut hidden: &mut [f32]) {
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs {
        if let Some((weight, _)) = job.pair() {
            let (out, others) = hidden.split_at_mut(job.rows.len() * weight.rows());
            hidden = others;
            let x = job.inputs(x, columns);
            products.push(Product { weight, x, out });
        }
    }
    matmul_each(&cpu.context, &mut products);
}

/// B of that, likewise.
fn up(cpu: &Cpu, jobs: &[Job<'_>], mut hidden: &[f32], mut values: &mut [f32]) {
    let mut products = Vec::with_capacity(jobs.len());
    for job in jobs {
        if let Some((_, weight)) = job.pair() {
            let (x, more) = hidden.split_at(job.rows.len() * weight.cols());
            let (out, others) = values.split_at_mut(job.rows.len() * weight.rows());
            (hidden, values) = (more, others);
            products.push(Product { weight, x, out });
        }
    }
    matmul_each(&cpu.context, &mut products);
}

impl Part {
    /// Adds what the low-rank part gives, if there is one, and the bias; stretches the rows.
    fn add(&self, cpu: &Cpu, y: &Tensor, rows: &[u32], values: Option<&[f32]>) -> Result<()> {
        let scale = self
            .low_rank
            .as_ref()
            .map_or(0.0, |low_rank| low_rank.scale);
        let bias = self.bias.as_deref();
        let bias_of = |column: usize| bias.map_or(0.0, |bias| bias[column]);
        match &self.stretch {
            Some(stretch) => change(cpu, y, rows, self, values, &|column, y, value| {
                let base_bias = stretch.base_bias.get(column).copied().unwrap_or(0.0);
                let factor = stretch.factors[column];
                *y = (*y - base_bias + value * scale) * factor + base_bias + bias_of(column);
            }),
            None if bias.is_some() => change(cpu, y, rows, self, values, &|column, y, value| {
                *y += value * scale + bias_of(column);
            }),
            None if values.is_some() => change(cpu, y, rows, self, values, &|_, y, value| {
                *y += value * scale
            }),
            None => Ok(()),
        }
    }
}

/// Changes the outputs of `part` in `rows` of `y` by what stands in `values` `[rows, part.rows]`, or by
/// zeros: `work` gets the column, the output and the value.
fn change(
    cpu: &Cpu,
    y: &Tensor,
    rows: &[u32],
    part: &Part,
    values: Option<&[f32]>,
    work: &(impl Fn(usize, &mut f32, f32) + Sync),
) -> Result<()> {
    let (tokens, width) = y.dims2()?;
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
    write(y, |y| {
        // What is less than two tasks' work is not worth a loop over the threads.
        match rows.len() * part.rows < 2 * ELEMENTS_PER_TASK {
            true => change_rows(0..tokens, y),
            false => for_row_part(&cpu.context, tokens, (y, width), change_rows),
        }
    })
}
