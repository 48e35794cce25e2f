//! The share of a product that one task computes.
#![allow(unsafe_code)] // tasks write disjoint parts of the output

use std::ops::Range;

use crate::memory::SharedMut;
use crate::quant::codes::STRIP_ROWS;
use crate::quant::inputs::InputGroup;

/// Some strips of a matrix, times some rows of inputs.
pub(crate) struct MatmulTask<'a> {
    /// All strips of the matrix.
    pub(crate) strips: &'a [u8],
    pub(crate) strip_bytes: usize,
    /// Rows of the matrix; the last strip may have fewer than 16.
    pub(crate) rows: usize,
    /// The strips to multiply.
    pub(crate) strip_range: Range<usize>,
    pub(crate) inputs: Inputs<'a>,
    /// The rows of inputs to multiply.
    pub(crate) token_range: Range<usize>,
    pub(crate) out: Output<'a>,
}

/// The inputs, row after row.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// Columns of a row.
    pub(crate) cols: usize,
    /// As they came.
    pub(crate) floats: &'a [f32],
    /// Quantised; empty if no matrix needs that.
    pub(crate) quantized: &'a [InputGroup],
    /// Groups of a row of `quantized`.
    pub(crate) groups: usize,
    /// From a row of `quantized` to the next.
    pub(crate) stride: usize,
}

impl<'a> Inputs<'a> {
    pub(crate) fn floats(&self, token: usize) -> &'a [f32] {
        &self.floats[token * self.cols..][..self.cols]
    }

    pub(crate) fn quantized(&self, token: usize) -> &'a [InputGroup] {
        &self.quantized[token * self.stride..][..self.groups]
    }

    /// The quantised rows `token .. token + count`, the last repeated to make `T`.
    pub(crate) fn tile<const T: usize>(
        &self,
        token: usize,
        count: usize,
    ) -> [*const InputGroup; T] {
        let mut rows = [std::ptr::null(); T];
        for (t, row) in rows.iter_mut().enumerate() {
            *row = self.quantized(token + t.min(count - 1)).as_ptr();
        }
        rows
    }
}

/// Where the outputs of a matrix go: columns `first ..` of rows of `width`.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    pub(crate) data: SharedMut<'a, f32>,
    pub(crate) width: usize,
    pub(crate) first: usize,
}

impl<'a> MatmulTask<'a> {
    /// The bytes of strip `strip`.
    pub(crate) fn strip(&self, strip: usize) -> &'a [u8] {
        &self.strips[strip * self.strip_bytes..][..self.strip_bytes]
    }

    /// Output rows of the matrix from row `row` on, at most `count`, for `token`.
    ///
    /// # Safety
    /// The elements belong to this task, and no other slice of them is alive.
    pub(crate) unsafe fn out(&self, token: usize, row: usize, count: usize) -> &'a mut [f32] {
        let row = row.min(self.rows);
        let count = count.min(self.rows - row);
        let start = token * self.out.width + self.out.first + row;
        // SAFETY: the caller's promise.
        unsafe { self.out.data.slice_mut(start..start + count) }
    }

    /// As [`MatmulTask::out`], for the rows of strip `strip`.
    ///
    /// # Safety
    /// As for [`MatmulTask::out`].
    pub(crate) unsafe fn strip_out(&self, token: usize, strip: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.out(token, strip * STRIP_ROWS, STRIP_ROWS) }
    }
}
