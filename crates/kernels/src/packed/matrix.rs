//! A weight matrix in memory.
//!
//! A matrix is cut into strips of 16 rows (see [`crate::quant`]), each packed on its own from the
//! file's rows.
#![allow(unsafe_code)] // tasks write disjoint strips

use thiserror::Error;

use super::arena::Region;
use super::layout::{Layout, layout};
use crate::context::Context;
use crate::format::Format;
use crate::memory::{AllocError, SharedMut};
use crate::quant::codes::STRIP_ROWS;

/// A weight matrix `[rows, cols]`, repacked once at load.
pub struct PackedMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    strip_bytes: usize,
    data: Region,
}

/// A tensor that cannot be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// The columns are not a whole number of blocks.
    #[error("rows of {cols} columns are not a whole number of {format} blocks of {}", format.block_size())]
    PartialBlock {
        /// The format of the tensor.
        format: Format,
        /// Columns of the tensor.
        cols: usize,
    },
    /// The tensor has no elements.
    #[error("the matrix is empty: {rows} rows of {cols} columns")]
    Empty {
        /// Rows of the tensor.
        rows: usize,
        /// Columns of the tensor.
        cols: usize,
    },
    /// Too few or too many bytes for the shape.
    #[error(
        "{rows} rows of {cols} columns of {format} take {expected} bytes, but there are {actual}"
    )]
    Length {
        /// The format of the tensor.
        format: Format,
        /// Rows of the tensor.
        rows: usize,
        /// Columns of the tensor.
        cols: usize,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// There is no memory for the packed weights.
    #[error(transparent)]
    Memory(#[from] AllocError),
}

impl PackedMatrix {
    /// Packs the `rows` × `cols` matrix that `bytes` hold in GGUF's layout, on all threads of
    /// `ctx`.
    ///
    /// # Errors
    /// If the shape is empty, is not a whole number of blocks, or does not take as many bytes as
    /// there are.
    pub fn pack(
        ctx: &Context,
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<Self, PackError> {
        if rows == 0 || cols == 0 {
            return Err(PackError::Empty { rows, cols });
        }
        let row_bytes = format
            .row_bytes(cols)
            .ok_or(PackError::PartialBlock { format, cols })?;
        let expected = row_bytes.saturating_mul(rows);
        if bytes.len() != expected {
            return Err(PackError::Length {
                format,
                rows,
                cols,
                expected,
                actual: bytes.len(),
            });
        }
        let strip_bytes = layout(format).strip_bytes(cols);
        let strips = rows.div_ceil(STRIP_ROWS);
        let mut data = Region::zeroed(strips * strip_bytes)?;
        let target = SharedMut::new(&mut data);
        ctx.pool().run(strips, &|strip| {
            let first = strip * STRIP_ROWS;
            let last = rows.min(first + STRIP_ROWS);
            // SAFETY: each strip is one task.
            let target =
                unsafe { target.slice_mut(strip * strip_bytes..(strip + 1) * strip_bytes) };
            layout(format).pack(
                &bytes[first * row_bytes..last * row_bytes],
                row_bytes,
                target,
            );
        });
        Ok(Self {
            format,
            rows,
            cols,
            strip_bytes,
            data,
        })
    }

    /// Bytes that a matrix takes once packed; `None` if its columns are not a whole number of blocks,
    /// or on overflow.
    pub fn packed_bytes(format: Format, rows: usize, cols: usize) -> Option<usize> {
        format.row_bytes(cols)?;
        let strips = rows.div_ceil(STRIP_ROWS);
        strips.checked_mul(layout(format).strip_bytes(cols))
    }

    /// Rows: the outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The format that the matrix came in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes that the weights take in memory.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Dequantises row `r` into `out`, which is `cols` long: the lookup of an embedding.
    ///
    /// # Panics
    /// If `r` is not a row, or `out` is not `cols` long.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has {} columns", self.cols);
        let strip = &self.data[r / STRIP_ROWS * self.strip_bytes..][..self.strip_bytes];
        self.layout().row(strip, r % STRIP_ROWS, out);
    }

    pub(crate) fn layout(&self) -> &'static dyn Layout {
        layout(self.format)
    }

    /// Bytes of a strip of 16 rows, whose layout is [`Format::strip`].
    pub fn strip_bytes(&self) -> usize {
        self.strip_bytes
    }

    /// All strips, one after the other. Rows that the last strip has beyond the matrix's, and columns
    /// that its last blocks have, are zeros.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}
