//! Computes what an adapter changes of the outputs of a linear layer.
//!
//! Each row depends on its own inputs alone: products are those of the kernels, and what is added to a
//! row is added in the order of the modules, whoever else is in the step.

use candle_core::{DType, Tensor};
use matou_kernels::rows::for_row_part;
use matou_kernels::{PackedMatrix, matmul};

use super::linear::{LinearAdapter, LowRank, Part};
use super::matrix::Matrix;
use crate::compute::{Compute, Cpu, read, write};
use crate::error::Result;

impl LinearAdapter {
    /// The outputs `y` `[tokens, Σ rows]` of the base for `x` `[tokens, columns]`, as the adapter
    /// changes them in `rows`, which ascend.
    pub(super) fn apply(
        &self,
        compute: &Compute,
        x: &Tensor,
        rows: &[u32],
        y: Tensor,
    ) -> Result<Tensor> {
        match compute {
            Compute::Kernels(cpu) => {
                self.apply_packed(cpu, x, rows, &y)?;
                Ok(y)
            }
            Compute::Candle { .. } => self.apply_on_device(x, rows, &y),
        }
    }

    fn apply_packed(&self, cpu: &Cpu, x: &Tensor, rows: &[u32], y: &Tensor) -> Result<()> {
        let gathered;
        let x = if rows.len() == x.dim(0)? {
            x
        } else {
            gathered = cpu.gather(x, rows)?;
            &gathered
        };
        for part in &self.parts {
            if let Some(Matrix::Packed(weight)) = &part.replaced {
                let values = product(cpu, &[weight], x)?;
                change(cpu, y, rows, part, Some(&values), &|_, y, value| *y = value)?;
                cpu.recycle(values)?;
            }
        }
        let hidden = self.hidden(cpu, x)?;
        let mut first = 0;
        for part in &self.parts {
            let values = match (&part.low_rank, &hidden) {
                (Some(low_rank), Some(hidden)) => {
                    let part = columns_of(cpu, hidden, first, low_rank)?;
                    first += low_rank.rank;
                    let Matrix::Packed(b) = &low_rank.b else {
                        continue;
                    };
                    let values = product(cpu, &[b], &part)?;
                    cpu.recycle(part)?;
                    Some(values)
                }
                _ => None,
            };
            part.add(cpu, y, rows, values.as_ref())?;
            if let Some(values) = values {
                cpu.recycle(values)?;
            }
        }
        hidden.map_or(Ok(()), |hidden| cpu.recycle(hidden))
    }

    /// `A x` of all modules side by side: they share the input.
    fn hidden(&self, cpu: &Cpu, x: &Tensor) -> Result<Option<Tensor>> {
        let matrices: Vec<&PackedMatrix> = self
            .parts
            .iter()
            .filter_map(|part| match &part.low_rank.as_ref()?.a {
                Matrix::Packed(a) => Some(a),
                Matrix::Dense(_) => None,
            })
            .collect();
        match matrices.is_empty() {
            true => Ok(None),
            false => product(cpu, &matrices, x).map(Some),
        }
    }

    fn apply_on_device(&self, x: &Tensor, rows: &[u32], y: &Tensor) -> Result<Tensor> {
        let dtype = y.dtype();
        let rows = Tensor::new(rows, y.device())?;
        let x = x.index_select(&rows, 0)?;
        let width = y.dim(1)?;
        let mut own = y.index_select(&rows, 0)?;
        let before = own.clone();
        for part in &self.parts {
            let mut values = own.narrow(1, part.start, part.rows)?;
            let vector = |values: &[f32]| -> Result<Tensor> {
                Ok(Tensor::new(values, y.device())?.to_dtype(dtype)?)
            };
            if let Some(Matrix::Dense(weight)) = &part.replaced {
                values = x.matmul(weight)?;
            }
            if let Some(LowRank {
                a: Matrix::Dense(a),
                b: Matrix::Dense(b),
                scale,
                ..
            }) = &part.low_rank
            {
                let added = (x.matmul(a)?.to_dtype(DType::F32)? * f64::from(*scale))?;
                values = (values + added.to_dtype(dtype)?.matmul(b)?)?;
            }
            if let Some(bias) = &part.bias {
                values = values.broadcast_add(&vector(bias)?)?;
            }
            let (end, mut columns) = (part.start + part.rows, Vec::new());
            if part.start > 0 {
                columns.push(own.narrow(1, 0, part.start)?);
            }
            columns.push(values);
            if end < width {
                columns.push(own.narrow(1, end, width - end)?);
            }
            own = Tensor::cat(&columns, 1)?;
        }
        Ok(y.index_add(&rows, &(own - before)?, 0)?)
    }
}

impl Part {
    /// Adds what the low-rank part gives, if there is one, and the bias; stretches the rows.
    fn add(&self, cpu: &Cpu, y: &Tensor, rows: &[u32], values: Option<&Tensor>) -> Result<()> {
        let bias = self.bias.as_deref();
        let bias_of = |column: usize| bias.map_or(0.0, |bias| bias[column]);
        match &self.stretch {
            Some(stretch) => change(cpu, y, rows, self, values, &|column, y, value| {
                let base_bias = stretch.base_bias.get(column).copied().unwrap_or(0.0);
                let factor = stretch.factors[column];
                *y = (*y - base_bias + value) * factor + base_bias + bias_of(column);
            }),
            None if bias.is_some() => change(cpu, y, rows, self, values, &|column, y, value| {
                *y += value + bias_of(column);
            }),
            None if values.is_some() => {
                change(cpu, y, rows, self, values, &|_, y, value| *y += value)
            }
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
    values: Option<&Tensor>,
    work: &(impl Fn(usize, &mut f32, f32) + Sync),
) -> Result<()> {
    let (tokens, width) = y.dims2()?;
    let change = |values: &[f32]| {
        write(y, |y| {
            for_row_part(&cpu.context, tokens, (y, width), |own, y| {
                let place = |row: usize| rows.partition_point(|&it| (it as usize) < row);
                for i in place(own.start)..place(own.end) {
                    let y =
                        &mut y[(rows[i] as usize - own.start) * width + part.start..][..part.rows];
                    match values.get(i * part.rows..(i + 1) * part.rows) {
                        Some(values) => {
                            let pairs = y.iter_mut().zip(values).enumerate();
                            pairs.for_each(|(column, (y, value))| work(column, y, *value));
                        }
                        None => {
                            let columns = y.iter_mut().enumerate();
                            columns.for_each(|(column, y)| work(column, y, 0.0));
                        }
                    }
                }
            });
        })
    };
    match values {
        Some(values) => read(values, change)?,
        None => change(&[]),
    }
}

fn product(cpu: &Cpu, matrices: &[&PackedMatrix], x: &Tensor) -> Result<Tensor> {
    let width = matrices.iter().map(|matrix| matrix.rows()).sum();
    cpu.produce((x.dim(0)?, width), |out| {
        read(x, |x| matmul(&cpu.context, matrices, x, out))
    })
}

/// The columns of `hidden` that are one module's, scaled.
fn columns_of(cpu: &Cpu, hidden: &Tensor, first: usize, low_rank: &LowRank) -> Result<Tensor> {
    let (tokens, width) = hidden.dims2()?;
    let LowRank { rank, scale, .. } = *low_rank;
    cpu.produce((tokens, rank), |out| {
        read(hidden, |hidden| {
            for (out, hidden) in out.chunks_exact_mut(rank).zip(hidden.chunks_exact(width)) {
                for (out, hidden) in out.iter_mut().zip(&hidden[first..][..rank]) {
                    *out = hidden * scale;
                }
            }
        })
    })
}
