//! Activations in memory that is used again.

use std::sync::{Arc, Mutex, PoisonError};

use matou_kernels::Context;
use matou_kernels::rows::for_row_part;

/// A row-major `[rows, columns]` of f32. Its memory goes back to where it came from.
pub(crate) struct CpuTensor {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
    free: FreeBuffers,
}

/// Buffers kept for reuse. A layer has about six sizes of activation.
const MAX_FREE_BUFFERS: usize = 16;

/// The memory that one operation leaves to the next. (Fresh memory would be zeroed and faulted in
/// for every operation, which costs more than the smaller operations themselves.)
#[derive(Clone, Default)]
pub(super) struct FreeBuffers(Arc<Mutex<Vec<Vec<f32>>>>);

impl FreeBuffers {
    /// A new tensor, written by `fill`, which must write all of it: the memory may be a used one.
    pub(super) fn produce(
        &self,
        (rows, columns): (usize, usize),
        fill: impl FnOnce(&mut [f32]),
    ) -> CpuTensor {
        let mut data = self.take(rows * columns);
        fill(&mut data);
        CpuTensor {
            data,
            rows,
            columns,
            free: self.clone(),
        }
    }

    fn take(&self, len: usize) -> Vec<f32> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().rposition(|buffer| buffer.len() == len) {
            Some(index) => free.remove(index),
            None => {
                drop(free);
                vec![0.0; len]
            }
        }
    }

    fn give(&self, buffer: Vec<f32>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() == MAX_FREE_BUFFERS {
            free.remove(0);
        }
        free.push(buffer);
    }
}

impl CpuTensor {
    /// Rows and columns.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    pub(super) fn data(&self) -> &[f32] {
        &self.data
    }

    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Forgets all rows but the first.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.data.truncate(self.rows * self.columns);
    }

    /// The memory itself, which does not come back.
    pub(super) fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.data)
    }
}

impl Drop for CpuTensor {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            self.free.give(data);
        }
    }
}

/// Some rows of `x`, in their order.
pub(super) fn gather(
    context: &Context,
    free: &FreeBuffers,
    x: &CpuTensor,
    rows: &[u32],
) -> CpuTensor {
    let columns = x.columns;
    free.produce((rows.len(), columns), |out| {
        for_row_part(context, rows.len(), (out, columns), |part, out| {
            for (&row, out) in rows[part].iter().zip(out.chunks_exact_mut(columns)) {
                out.copy_from_slice(&x.data[row as usize * columns..][..columns]);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(free: &FreeBuffers, shape: (usize, usize), value: f32) -> CpuTensor {
        free.produce(shape, |out| out.fill(value))
    }

    #[test]
    fn dropped_memory_serves_the_next_tensor_of_its_size() {
        let free = FreeBuffers::default();
        let first = filled(&free, (2, 3), 1.0);
        let address = first.data().as_ptr();
        drop(first);
        let other_size = filled(&free, (2, 4), 2.0);
        let same_size = filled(&free, (3, 2), 3.0);
        assert_ne!(other_size.data().as_ptr(), address);
        assert_eq!(same_size.data().as_ptr(), address);
    }

    #[test]
    fn only_so_many_buffers_are_kept() {
        let free = FreeBuffers::default();
        for columns in 1..100 {
            drop(filled(&free, (1, columns), 0.0));
        }
        assert_eq!(free.0.lock().unwrap().len(), MAX_FREE_BUFFERS);
    }

    #[test]
    fn what_is_taken_out_is_not_used_again() {
        let free = FreeBuffers::default();
        let mut tensor = filled(&free, (3, 2), 1.0);
        tensor.truncate(2);
        assert_eq!(tensor.shape(), (2, 2));
        assert_eq!(tensor.into_vec(), [1.0; 4]);
        assert!(free.0.lock().unwrap().is_empty());
    }
}
