//! What lies in the memory of a device: rows of floats, numbers, vectors.

use crate::buffer::Buffer;

/// `[rows, columns]` of f32, row after row. Dropping it gives its memory to the tensors that follow.
pub struct Tensor {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) buffer: Buffer,
}

/// Numbers for one step, from the host: tokens, rows, blocks.
pub struct Indices {
    pub(crate) len: usize,
    pub(crate) buffer: Buffer,
}

/// Floats that stay, such as the weight of a normalisation.
pub struct Vector {
    pub(crate) len: usize,
    pub(crate) buffer: Buffer,
}

impl Tensor {
    /// Rows: tokens, in most tensors.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The same memory as `[rows, columns]` of another shape with as many elements, or fewer.
    ///
    /// # Panics
    /// If there are not as many elements.
    #[must_use]
    pub fn reshape(self, rows: usize, columns: usize) -> Self {
        let elements = self.rows * self.columns;
        assert!(
            rows * columns <= elements,
            "{rows} × {columns} of {elements} elements"
        );
        Self {
            rows,
            columns,
            buffer: self.buffer,
        }
    }
}

impl Indices {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Vector {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
