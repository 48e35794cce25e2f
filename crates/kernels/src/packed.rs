//! Weights in memory.

use thiserror::Error;

use crate::Context;
use crate::format::Format;
use crate::quant;

/// A weight matrix `[rows, cols]`, made once at load.
pub struct PackedMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

/// A tensor that cannot be packed.
#[derive(Debug, Error, PartialEq, Eq)]
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
}

impl PackedMatrix {
    /// Packs the `rows` × `cols` matrix that `bytes` hold in GGUF's layout, on all threads of `ctx`.
    ///
    /// # Errors
    /// If the shape is empty, is not a whole number of blocks, or does not take as many bytes as there are.
    pub fn pack(
        _ctx: &Context,
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
        Ok(Self {
            format,
            rows,
            cols,
            bytes: bytes.to_vec(),
        })
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
        self.bytes.len()
    }

    /// Dequantises row `r` into `out`, which is `cols` long: the lookup of an embedding.
    ///
    /// # Panics
    /// If `r` is not a row, or `out` is not `cols` long.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has {} columns", self.cols);
        let row_bytes = self.bytes.len() / self.rows;
        quant::dequantize(
            self.format,
            &self.bytes[r * row_bytes..(r + 1) * row_bytes],
            out,
        )
        .expect("rows are whole blocks");
    }
}
