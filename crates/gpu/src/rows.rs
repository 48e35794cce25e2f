//! Rows chosen from a tensor, and added to one.

use crate::elementwise::{Elementwise, Operand};
use crate::error::GpuError;
use crate::stream::{Binding, Stream};
use crate::tensor::{Indices, Tensor};

impl Stream {
    /// Row `rows[i]` of `x`, for each i below `count`. A number beyond `x` reads its last row.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// There are fewer than `count` numbers, or `x` has no rows to choose from.
    pub fn select_rows(
        &self,
        x: &Tensor,
        rows: &Indices,
        count: usize,
    ) -> Result<Tensor, GpuError> {
        const SELECT: Elementwise = Elementwise {
            key: "select-rows",
            params: "columns: u32, last: u32,",
            buffers: &[
                Operand::Floats("x"),
                Operand::Words("rows"),
                Operand::Result("out"),
            ],
            body: "let row = min(rows[i / p.columns], p.last);
                   out[i] = x[row * p.columns + i % p.columns];",
        };
        assert!(count <= rows.len(), "{count} of {} rows", rows.len());
        assert!(count == 0 || x.rows() > 0, "rows of nothing");
        let out = self.tensor(count, x.columns())?;
        let buffers = [
            Binding::Read(&x.buffer),
            Binding::Read(&rows.buffer),
            Binding::Write(&out.buffer),
        ];
        let params = [x.columns() as u32, x.rows().saturating_sub(1) as u32];
        self.elementwise(&SELECT, count * x.columns(), &buffers, &params)?;
        Ok(out)
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    pub fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor, GpuError> {
        const ZEROS: Elementwise = Elementwise {
            key: "zeros",
            params: "",
            buffers: &[Operand::Result("x")],
            body: "x[i] = 0.0;",
        };
        let x = self.tensor(rows, columns)?;
        self.elementwise(&ZEROS, rows * columns, &[Binding::Write(&x.buffer)], &[])?;
        Ok(x)
    }

    /// `y[rows[i]] += out[i] · weights[i]` for each row i of `out`, in place. No row of `y` may be named
    /// twice: the order of its sums would be anyone's. A number beyond `y` is left out.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The shapes do not fit each other; `weights` is `[rows of out, 1]`.
    pub fn add_weighted_rows(
        &self,
        y: &Tensor,
        out: &Tensor,
        rows: &Indices,
        weights: &Tensor,
    ) -> Result<(), GpuError> {
        const ADD_WEIGHTED: Elementwise = Elementwise {
            key: "add-weighted-rows",
            params: "columns: u32, rows: u32,",
            buffers: &[
                Operand::Result("y"),
                Operand::Floats("out"),
                Operand::Words("row_of"),
                Operand::Floats("weights"),
            ],
            body: "let row = i / p.columns;
                   if row_of[row] < p.rows {
                       let at = row_of[row] * p.columns + i % p.columns;
                       y[at] = y[at] + out[i] * weights[row];
                   }",
        };
        assert_eq!(y.columns(), out.columns(), "columns of the rows");
        assert_eq!(rows.len(), out.rows(), "numbers of the rows");
        assert_eq!(weights.shape(), (out.rows(), 1), "shape of the weights");
        let buffers = [
            Binding::Write(&y.buffer),
            Binding::Read(&out.buffer),
            Binding::Read(&rows.buffer),
            Binding::Read(&weights.buffer),
        ];
        let params = [y.columns() as u32, y.rows() as u32];
        self.elementwise(&ADD_WEIGHTED, out.rows() * out.columns(), &buffers, &params)
    }
}
