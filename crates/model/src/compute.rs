//! Where the layers of a model compute.
//!
//! Model code is written once, on candle tensors. On the CPU a layer hands their memory to
//! matou's kernels; on any other device it uses candle's own operations. This module is the seam:
//! what to choose between, and how kernels (slices in, slices out) meet tensors.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, bail};
use matou_kernels::rows::for_row_part;
use matou_kernels::{Context, Isa};

use crate::error::Result;

/// Where a model computes. Cheap to clone: every layer has one.
#[derive(Clone)]
pub(crate) enum Compute {
    /// On the CPU by matou's kernels, with f32 activations.
    Kernels(Cpu),
    /// On any device by candle's operations, with activations of one type.
    Candle {
        /// The device.
        device: Device,
        /// Element type of activations and dense weights.
        dtype: DType,
    },
}

impl Compute {
    /// The device of the activations.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Kernels(_) => &Device::Cpu,
            Self::Candle { device, .. } => device,
        }
    }

    /// The instruction set of what is computed on the CPU.
    pub(crate) fn isa(&self) -> Isa {
        match self {
            Self::Kernels(cpu) => cpu.context.isa(),
            Self::Candle { .. } => Isa::from_env_or_detect().unwrap_or_else(|_| Isa::detect()),
        }
    }

    /// A vector of the type of the activations.
    pub(crate) fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        let len = values.len();
        let vector = Tensor::from_vec(values, len, self.device())?;
        match self {
            Self::Kernels(_) => Ok(vector),
            Self::Candle { dtype, .. } => Ok(vector.to_dtype(*dtype)?),
        }
    }
}

/// The kernels' context, and the memory that one operation leaves to the next.
#[derive(Clone)]
pub(crate) struct Cpu {
    /// Threads and instruction set.
    pub(crate) context: Context,
    free: Arc<Mutex<Vec<Vec<f32>>>>,
}

/// Buffers kept for reuse. A layer has about six sizes of activation.
const MAX_FREE_BUFFERS: usize = 16;

impl Cpu {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            free: Arc::default(),
        }
    }

    /// A new `[rows, columns]` tensor, written by `fill`, which must write all of it: the memory
    /// may be a used one. (Fresh memory would be zeroed and faulted in for every operation, which
    /// costs more than the smaller operations themselves.)
    pub(crate) fn produce(
        &self,
        (rows, columns): (usize, usize),
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<Tensor> {
        let mut buffer = self.buffer(rows * columns);
        fill(&mut buffer)?;
        Ok(Tensor::from_vec(buffer, (rows, columns), &Device::Cpu)?)
    }

    /// Takes the memory of a tensor that [`produce`](Self::produce) made and that nothing uses any
    /// more.
    pub(crate) fn recycle(&self, tensor: Tensor) -> Result<()> {
        let buffer = into_vec(&tensor)?;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() == MAX_FREE_BUFFERS {
            free.remove(0);
        }
        free.push(buffer);
        Ok(())
    }

    /// Some rows of `[tokens, columns]`, in their order.
    pub(crate) fn gather(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let columns = x.dim(1)?;
        self.produce((rows.len(), columns), |out| {
            read(x, |x| {
                for_row_part(&self.context, rows.len(), (out, columns), |part, out| {
                    for (&row, out) in rows[part].iter().zip(out.chunks_exact_mut(columns)) {
                        out.copy_from_slice(&x[row as usize * columns..][..columns]);
                    }
                });
            })
        })
    }

    fn buffer(&self, len: usize) -> Vec<f32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().rposition(|buffer| buffer.len() == len) {
            Some(index) => free.remove(index),
            None => vec![0.0; len],
        }
    }
}

/// Reads a contiguous f32 tensor of the CPU.
pub(crate) fn read<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) => Ok(work(&data[start..end])),
        _ => Err(candle_core::Error::Msg(format!(
            "kernels read contiguous f32 tensors of the CPU, not {:?} of {:?}",
            tensor.dtype(),
            tensor.device()
        ))
        .into()),
    }
}

/// Changes a contiguous f32 tensor of the CPU in place.
pub(crate) fn write<T>(tensor: &Tensor, work: impl FnOnce(&mut [f32]) -> T) -> Result<T> {
    with_storage(tensor, |data, (start, end)| work(&mut data[start..end]))
}

/// Takes the memory out of a tensor, which must not be used after that.
pub(crate) fn into_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    with_storage(tensor, |data, (start, end)| {
        let mut data = std::mem::take(data);
        data.truncate(end);
        data.drain(..start);
        data
    })
}

fn with_storage<T>(
    tensor: &Tensor,
    work: impl FnOnce(&mut Vec<f32>, (usize, usize)) -> T,
) -> Result<T> {
    let op = StorageOp {
        work: Cell::new(Some(work)),
        result: Cell::new(None),
    };
    tensor.inplace_op1(&op)?;
    let result = op.result.into_inner();
    Ok(result.expect("the operation has run, since it reported no error"))
}

/// A closure as the in-place operation through which candle gives access to a tensor's memory.
struct StorageOp<F, T> {
    work: Cell<Option<F>>,
    result: Cell<Option<T>>,
}

impl<F: FnOnce(&mut Vec<f32>, (usize, usize)) -> T, T> InplaceOp1 for StorageOp<F, T> {
    fn name(&self) -> &'static str {
        "cpu-kernel"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(data), Some(range)) = (storage, layout.contiguous_offsets()) else {
            bail!("kernels write contiguous f32 tensors");
        };
        if let Some(work) = self.work.take() {
            self.result.set(Some(work(data, range)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn cpu() -> Cpu {
        Cpu::new(Context::new(Isa::Scalar, 1))
    }

    fn filled(cpu: &Cpu, shape: (usize, usize), value: f32) -> Tensor {
        cpu.produce(shape, |out| {
            out.fill(value);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn recycled_memory_serves_the_next_tensor_of_its_size() {
        let cpu = cpu();
        let first = filled(&cpu, (2, 3), 1.0);
        let address = read(&first, |x| x.as_ptr() as usize).unwrap();
        cpu.recycle(first).unwrap();
        let other_size = filled(&cpu, (2, 4), 2.0);
        let same_size = filled(&cpu, (3, 2), 3.0);
        let other_address = read(&other_size, |x| x.as_ptr() as usize).unwrap();
        assert_ne!(other_address, address);
        assert_eq!(read(&same_size, |x| x.as_ptr() as usize).unwrap(), address);
    }

    #[test]
    fn tensors_are_read_and_changed_through_their_views() {
        let tensor = filled(&cpu(), (3, 2), 1.0);
        let last = tensor.narrow(0, 2, 1).unwrap();
        write(&last, |x| x.fill(5.0)).unwrap();
        assert_eq!(
            read(&tensor, <[f32]>::to_vec).unwrap(),
            [1.0, 1.0, 1.0, 1.0, 5.0, 5.0]
        );
        assert_eq!(into_vec(&last).unwrap(), [5.0, 5.0]);
    }

    #[test]
    fn what_is_not_contiguous_f32_is_refused() {
        let column = filled(&cpu(), (3, 2), 1.0).narrow(1, 0, 1).unwrap();
        assert!(read(&column, |_| ()).is_err());
        assert!(write(&column, |_| ()).is_err());
        let integers = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
        assert!(read(&integers, |_| ()).is_err());
    }
}
