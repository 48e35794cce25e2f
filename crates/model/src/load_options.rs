//! How a model is loaded: where it runs, and what its weights become.

use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;

use candle_core::{DType, Device};
use matou_kernels::{Context, Format, Isa, ThreadPool};

use crate::compute::{Compute, Cpu};
use crate::error::{ModelError, Result};
use crate::loader::Progress;
use crate::quantize::Quantization;

/// Where a model is to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build supports one and it is there, else the CPU.
    #[default]
    Auto,
    /// The CPU, with matou's kernels.
    Cpu,
    /// The first CUDA device.
    Cuda,
    /// The Metal device.
    Metal,
    /// The CPU with candle's own operations: what runs on GPUs, where there is none. Slow; the
    /// other side of comparisons.
    CpuReference,
}

/// Element type of activations and of weights that are not quantised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dtype {
    /// Weights as stored; activations in f32 on the CPU, in bf16 on a GPU.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
}

/// How to load a model.
#[derive(Default)]
pub struct LoadOptions {
    /// Where it is to run.
    pub device: DeviceChoice,
    /// Element type of what is not quantised. (On the CPU, activations are f32 in any case.)
    pub dtype: Dtype,
    /// What unquantised matrices are packed into as they load; nothing if `None`.
    pub quantize: Option<Quantization>,
    /// Longest context that there will be; the model's own if `None`. Decides how models rotate
    /// that do it in one way for short contexts and in another for long ones.
    pub context_length: Option<usize>,
    /// CPU threads; as many as the machine has if `None`.
    pub threads: Option<usize>,
    /// Threads that other models use too, in place of some of its own.
    pub pool: Option<Arc<ThreadPool>>,
    /// CPU instruction set; `MATOU_ISA`, or the best there is, if `None`.
    pub isa: Option<Isa>,
    /// Called after each tensor with the bytes loaded so far and the bytes in all.
    pub progress: Option<Box<Progress>>,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("device", &self.device)
            .field("dtype", &self.dtype)
            .field("quantize", &self.quantize)
            .field("threads", &self.threads)
            .field("isa", &self.isa.as_ref().map(Isa::name))
            .finish_non_exhaustive()
    }
}

impl Dtype {
    /// The format that unquantised weights are converted to; as stored if `None`.
    pub(crate) fn weight_format(self) -> Option<Format> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(Format::F32),
            Self::F16 => Some(Format::F16),
            Self::Bf16 => Some(Format::Bf16),
        }
    }
}

impl LoadOptions {
    /// What computes, and where.
    pub(crate) fn compute(&self) -> Result<Compute> {
        let device = match self.device {
            DeviceChoice::Cpu => return self.kernels(),
            DeviceChoice::Cuda => Device::new_cuda(0).map_err(|error| no_device("cuda", &error))?,
            DeviceChoice::Metal => {
                Device::new_metal(0).map_err(|error| no_device("metal", &error))?
            }
            DeviceChoice::CpuReference => Device::Cpu,
            DeviceChoice::Auto => match Device::new_cuda(0).or_else(|_| Device::new_metal(0)) {
                Ok(device) => device,
                Err(_) => return self.kernels(),
            },
        };
        let dtype = match self.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
            Dtype::Auto if device.is_cpu() => DType::F32,
            Dtype::Auto => DType::BF16,
        };
        Ok(Compute::Candle { device, dtype })
    }

    fn kernels(&self) -> Result<Compute> {
        let isa = match self.isa {
            Some(isa) => isa,
            None => {
                Isa::from_env_or_detect().map_err(|error| ModelError::Device(error.to_string()))?
            }
        };
        let context = match &self.pool {
            Some(pool) => Context::sharing(isa, Arc::clone(pool)),
            None => {
                let threads = self
                    .threads
                    .unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
                Context::new(isa, threads.max(1))
            }
        };
        Ok(Compute::Kernels(Cpu::new(context)))
    }
}

fn no_device(name: &str, error: &candle_core::Error) -> ModelError {
    ModelError::Device(format!(
        "device {name} cannot be used: {error}. Builds without the cargo feature `{name}` have no such device; --device cpu always works"
    ))
}
