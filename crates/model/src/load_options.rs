//! How a model is loaded: where it runs, and what its weights become.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use matou_kernels::{Context, Format, Isa, ThreadPool};

use crate::device::DeviceChoice;
use crate::error::{ModelError, Result};
use crate::loader::Progress;
use crate::quantize::Quantization;

/// Element type of weights that are not quantised. (Activations are f32 on every device.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dtype {
    /// As stored.
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
    /// Element type of what is not quantised.
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
    /// Where kernels are kept that a GPU's driver has compiled; nowhere if `None`.
    pub kernel_cache: Option<PathBuf>,
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
    /// Threads and instruction set of the CPU's kernels.
    pub(crate) fn context(&self) -> Result<Context> {
        let isa = match self.isa {
            Some(isa) => isa,
            None => {
                Isa::from_env_or_detect().map_err(|error| ModelError::Device(error.to_string()))?
            }
        };
        Ok(match &self.pool {
            Some(pool) => Context::sharing(isa, Arc::clone(pool)),
            None => {
                let threads = self
                    .threads
                    .unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
                Context::new(isa, threads.max(1))
            }
        })
    }
}
