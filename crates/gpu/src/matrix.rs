//! Matrices of weights in the memory of a device: the strips that the CPU's kernels read, as they are.

use matou_kernels::{Format, PackedMatrix, StripLayout};

use crate::buffer::Buffer;
use crate::error::GpuError;
use crate::stream::Stream;

/// Rows of a strip.
pub(crate) const STRIP_ROWS: usize = 16;

/// One or more matrices with the same columns, whose outputs come side by side.
pub struct Matrix {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) pieces: Vec<Piece>,
}

/// Strips in one buffer, of one format: matrices that follow each other, or a part of one.
pub(crate) struct Piece {
    pub(crate) format: Format,
    /// Among the rows of all.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) strip_bytes: usize,
    pub(crate) buffer: Buffer,
}

impl Piece {
    /// Whether its products want inputs in 8 bits.
    pub(crate) fn is_quantized(&self) -> bool {
        matches!(self.format.strip(), StripLayout::Quantized(_))
    }
}

impl Matrix {
    /// Rows of all matrices: the outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the inputs of a product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in the memory of the device.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.buffer.bytes()).sum()
    }

    /// Whether the formats of all matrices are quantised.
    pub(crate) fn is_quantized(&self) -> bool {
        self.pieces.iter().all(Piece::is_quantized)
    }
}

/// Many matrices of one shape and format, of which each row of inputs has one: experts.
pub struct Stack {
    pub(crate) format: Format,
    pub(crate) matrices: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) strip_bytes: usize,
    /// As many whole matrices as a buffer holds.
    pub(crate) pieces: Vec<StackPiece>,
}

pub(crate) struct StackPiece {
    pub(crate) first_matrix: usize,
    pub(crate) matrices: usize,
    pub(crate) buffer: Buffer,
}

impl Stack {
    /// How many matrices there are.
    pub fn matrices(&self) -> usize {
        self.matrices
    }

    /// Rows of each: the outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of each: the inputs of a product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in the memory of the device.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.buffer.bytes()).sum()
    }
}

/// A piece that is being planned: what is copied into it.
struct Plan<'a> {
    format: Format,
    first: usize,
    rows: usize,
    strip_bytes: usize,
    data: Vec<&'a [u8]>,
}

impl Plan<'_> {
    fn bytes(&self) -> usize {
        self.data.iter().map(|data| data.len()).sum()
    }
}

impl Stream {
    /// Copies matrices into the memory of the device; the outputs of their products come side by side, in
    /// this order. What is larger than a buffer of the device is cut, what is small is put together.
    ///
    /// # Errors
    /// If there is no memory left.
    ///
    /// # Panics
    /// If there are no matrices, or their columns differ.
    pub fn matrix(&self, matrices: &[&PackedMatrix]) -> Result<Matrix, GpuError> {
        let limit = self.device().info().max_binding_bytes as usize;
        self.matrix_within(matrices, limit)
    }

    /// [`matrix`](Self::matrix) in buffers of at most `limit` bytes, or of one strip.
    pub(crate) fn matrix_within(
        &self,
        matrices: &[&PackedMatrix],
        limit: usize,
    ) -> Result<Matrix, GpuError> {
        let columns = matrices.first().map(|matrix| matrix.cols());
        let columns = columns.expect("at least one matrix");
        let mut plans: Vec<Plan<'_>> = Vec::new();
        let mut first = 0;
        for matrix in matrices {
            assert_eq!(matrix.cols(), columns, "columns of matrices side by side");
            let strip_bytes = matrix.strip_bytes();
            let most = (limit / strip_bytes).max(1);
            let mut rows = matrix.rows();
            for data in matrix.data().chunks(most * strip_bytes) {
                let part = rows.min(data.len() / strip_bytes * STRIP_ROWS);
                match plans.last_mut() {
                    Some(last)
                        if last.format == matrix.format()
                            && last.rows.is_multiple_of(STRIP_ROWS)
                            && last.bytes() + data.len() <= limit =>
                    {
                        last.rows += part;
                        last.data.push(data);
                    }
                    _ => plans.push(Plan {
                        format: matrix.format(),
                        first,
                        rows: part,
                        strip_bytes,
                        data: vec![data],
                    }),
                }
                rows -= part;
                first += part;
            }
        }
        let pieces = plans.into_iter().map(|plan| {
            Ok(Piece {
                format: plan.format,
                first: plan.first,
                rows: plan.rows,
                strip_bytes: plan.strip_bytes,
                buffer: self.weights(&plan.data)?,
            })
        });
        Ok(Matrix {
            columns,
            rows: first,
            pieces: pieces.collect::<Result<_, GpuError>>()?,
        })
    }

    /// Copies matrices of one shape and format into the memory of the device, for
    /// [`linear_of`](Self::linear_of).
    ///
    /// # Errors
    /// If there is no memory left, or one matrix is larger than a buffer of the device.
    ///
    /// # Panics
    /// If there are no matrices, or their shapes or formats differ.
    pub fn stack(&self, matrices: &[&PackedMatrix]) -> Result<Stack, GpuError> {
        let first = *matrices.first().expect("at least one matrix");
        let same = |matrix: &&PackedMatrix| {
            (matrix.rows(), matrix.cols(), matrix.format())
                == (first.rows(), first.cols(), first.format())
        };
        assert!(matrices.iter().all(same), "matrices of a stack are alike");
        let limit = self.device().info().max_binding_bytes as usize;
        let most = (limit / first.bytes()).max(1);
        let mut pieces = Vec::new();
        for (i, part) in matrices.chunks(most).enumerate() {
            let data: Vec<&[u8]> = part.iter().map(|matrix| matrix.data()).collect();
            pieces.push(StackPiece {
                first_matrix: i * most,
                matrices: part.len(),
                buffer: self.weights(&data)?,
            });
        }
        Ok(Stack {
            format: first.format(),
            matrices: matrices.len(),
            rows: first.rows(),
            columns: first.cols(),
            strip_bytes: first.strip_bytes(),
            pieces,
        })
    }

    /// A buffer of strips, one part after the other.
    fn weights(&self, parts: &[&[u8]]) -> Result<Buffer, GpuError> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let buffer = self.allocate("weights", bytes as u64)?;
        let mut at = 0;
        for part in parts {
            self.write(&buffer, at, part)?;
            at += part.len() as u64;
        }
        Ok(buffer)
    }
}
