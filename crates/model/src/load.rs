//! From files on disk to a model that runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use candle_core::{DType, Device};
use matou_kernels::{Context, Isa};

use crate::compute::{Compute, Cpu};
use crate::config::{ModelConfig, PARAMS_FILE};
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::language_model::LanguageModel;
use crate::loader::{Loader, Progress};
use crate::quantize::{Quantization, Target};
use crate::registry;
use crate::weights::{
    CONSOLIDATED, GgufFile, GgufSource, HUGGING_FACE, MistralSource, PrequantizedSource,
    SafetensorsSource, TensorSource,
};

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// A GGUF file, or the first of its shards.
    Gguf(PathBuf),
    /// A folder with `config.json` and safetensors, or with Mistral's `params.json` and its.
    HuggingFace(PathBuf),
}

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

/// Loads a model.
///
/// # Errors
///
/// When files are missing or corrupt, a tensor is missing or has the wrong shape or an unsupported
/// type, the architecture is unknown, or the device is not there. Each error names what it is about.
pub fn load(weights: &WeightFiles, options: &LoadOptions) -> Result<Box<dyn LanguageModel>> {
    let (config, source) = open(weights, options)?;
    let architecture = registry::architecture(&config)?;
    let target = Target::new(options, &config);
    let loader = Loader::new(
        source.as_ref(),
        compute(options)?,
        target,
        options.progress.as_deref(),
    );
    Ok(Box::new(Decoder::load(&config, &architecture, &loader)?))
}

/// The config of a model, and where its weights are.
pub(crate) fn open(
    weights: &WeightFiles,
    options: &LoadOptions,
) -> Result<(ModelConfig, Box<dyn TensorSource>)> {
    let (mut config, source) = open_files(weights)?;
    config.settle_context(options.context_length);
    Ok((config, source))
}

fn open_files(weights: &WeightFiles) -> Result<(ModelConfig, Box<dyn TensorSource>)> {
    match weights {
        WeightFiles::Gguf(path) => {
            let file = GgufFile::open(path)?;
            let config = ModelConfig::from_gguf(&file)?;
            let source = GgufSource::new(
                file,
                &config.architecture,
                config.num_attention_heads,
                config.num_key_value_heads,
            );
            Ok((config, Box::new(source)))
        }
        WeightFiles::HuggingFace(folder) => open_folder(folder),
    }
}

/// Hugging Face's layout, or Mistral's where that is all there is.
fn open_folder(folder: &Path) -> Result<(ModelConfig, Box<dyn TensorSource>)> {
    let has_config = folder.join("config.json").exists();
    if folder.join(PARAMS_FILE).exists() && !(has_config && HUGGING_FACE.exist_in(folder)) {
        let config = ModelConfig::from_params(folder)?;
        let files = SafetensorsSource::open(folder, CONSOLIDATED)?;
        let source = MistralSource::new(
            Box::new(PrequantizedSource::new(files, None)),
            config.num_attention_heads,
            config.num_key_value_heads,
        );
        return Ok((config, Box::new(source)));
    }
    let (config, method) = ModelConfig::from_folder(folder)?;
    let files = SafetensorsSource::open(folder, HUGGING_FACE)?;
    Ok((config, Box::new(PrequantizedSource::new(files, method))))
}

fn compute(options: &LoadOptions) -> Result<Compute> {
    let device = match options.device {
        DeviceChoice::Cpu => return kernels(options),
        DeviceChoice::Cuda => Device::new_cuda(0).map_err(|error| no_device("cuda", &error))?,
        DeviceChoice::Metal => Device::new_metal(0).map_err(|error| no_device("metal", &error))?,
        DeviceChoice::CpuReference => Device::Cpu,
        DeviceChoice::Auto => match Device::new_cuda(0).or_else(|_| Device::new_metal(0)) {
            Ok(device) => device,
            Err(_) => return kernels(options),
        },
    };
    let dtype = match options.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        Dtype::Auto if device.is_cpu() => DType::F32,
        Dtype::Auto => DType::BF16,
    };
    Ok(Compute::Candle { device, dtype })
}

fn kernels(options: &LoadOptions) -> Result<Compute> {
    let isa = match options.isa {
        Some(isa) => isa,
        None => Isa::from_env_or_detect().map_err(|error| ModelError::Device(error.to_string()))?,
    };
    let threads = options
        .threads
        .unwrap_or_else(|| available_parallelism().map_or(1, |threads| threads.get()));
    Ok(Compute::Kernels(Cpu::new(Context::new(
        isa,
        threads.max(1),
    ))))
}

fn no_device(name: &str, error: &candle_core::Error) -> ModelError {
    ModelError::Device(format!(
        "device {name} cannot be used: {error}. Builds without the cargo feature `{name}` have no such device; --device cpu always works"
    ))
}
