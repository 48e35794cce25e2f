//! Where a model is to run, and what memory there is.

use std::fmt;

use matou_model::{DeviceChoice, DeviceInfo, DeviceKind, ModelSummary};
use tracing::warn;

use super::error::OpenError;
use super::fit::{Memory, SHORTEST_CONTEXT};
use super::memory::free_memory;
use super::options::OpenOptions;

/// The device that a model runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Never the automatic choice; a GPU has a number.
    pub device: DeviceChoice,
    /// What a GPU is.
    pub gpu: Option<DeviceInfo>,
    /// Memory that is free there, in bytes, when this was made.
    pub free: u64,
}

impl Place {
    /// Where a model will run. Left to choose, it is no GPU that lacks the memory or the kernels for what
    /// is asked of the model.
    ///
    /// # Errors
    ///
    /// When a GPU is asked for that is not there, or that cannot be used.
    pub fn for_model(summary: &ModelSummary, options: &OpenOptions) -> Result<Self, OpenError> {
        let dtype = options.kv_cache_dtype;
        let tokens = options.max_model_len.unwrap_or(SHORTEST_CONTEXT);
        let tokens = tokens.min(summary.max_position_embeddings);
        let mut needs = Memory::of(summary, dtype, tokens, true);
        needs.kv_cache = needs.kv_cache.max(options.kv_cache_memory.unwrap_or(0));
        match options.device {
            DeviceChoice::Auto if !summary.runs_on_gpus(dtype) => Self::of(DeviceChoice::Cpu, 0),
            choice => Self::of(choice, needs.total()),
        }
    }

    /// What `choice` means for a model that takes `bytes` bytes.
    ///
    /// # Errors
    ///
    /// As [`for_model`](Self::for_model).
    pub(super) fn of(choice: DeviceChoice, bytes: u64) -> Result<Self, OpenError> {
        let device = choice.resolve(bytes)?;
        let (device, gpu) = match device.gpu() {
            Ok(gpu) => (device, gpu),
            // Nobody has asked for that card.
            Err(error) if choice == DeviceChoice::Auto => {
                warn!("the model runs on the CPU: {error}");
                (DeviceChoice::Cpu, None)
            }
            Err(error) => return Err(error.into()),
        };
        let host = free_memory();
        let free = gpu.as_ref().map_or(host, |gpu| free_on(gpu, host));
        Ok(Self { device, gpu, free })
    }

    /// For people: `CPU`, or the name of the GPU.
    pub fn name(&self) -> &str {
        self.gpu.as_ref().map_or("CPU", |gpu| &gpu.name)
    }

    /// What it is made of, in a word for programs: `cpu`, or as [`device_kind`] has it.
    pub fn kind(&self) -> &'static str {
        self.gpu.as_ref().map_or("cpu", |gpu| device_kind(gpu.kind))
    }
}

/// The name, and what to call a GPU on the command line.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gpu {
            Some(gpu) => write!(f, "{} (gpu:{})", gpu.name, gpu.index),
            None => f.write_str("CPU"),
        }
    }
}

/// What a GPU is made of, in a word.
pub fn device_kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Discrete => "discrete",
        DeviceKind::Integrated => "integrated",
        DeviceKind::Virtual => "virtual",
        DeviceKind::Other => "other",
        DeviceKind::Software => "software",
    }
}

/// Memory free on a GPU, where `host` bytes are free in the machine's: some have no other.
fn free_on(gpu: &DeviceInfo, host: u64) -> u64 {
    let own = gpu
        .memory
        .as_ref()
        .map_or(u64::MAX, |memory| memory.free.unwrap_or(memory.total));
    match gpu.kind {
        DeviceKind::Discrete | DeviceKind::Virtual if own != u64::MAX => own,
        _ => own.min(host),
    }
}

#[cfg(test)]
mod tests {
    use matou_model::DeviceMemory;

    use super::*;

    fn card() -> DeviceInfo {
        DeviceInfo {
            index: 1,
            name: "a card".to_owned(),
            driver: String::new(),
            api: "Vulkan",
            kind: DeviceKind::Discrete,
            memory: Some(DeviceMemory {
                total: 100,
                free: Some(80),
            }),
            features: Vec::new(),
            max_binding_bytes: 0,
            missing: None,
        }
    }

    #[test]
    fn a_gpu_without_memory_of_its_own_has_no_more_than_the_machine() {
        let mut gpu = card();
        assert_eq!(free_on(&gpu, 10), 80);
        gpu.kind = DeviceKind::Software;
        assert_eq!(free_on(&gpu, 10), 10);
        assert_eq!(free_on(&gpu, 90), 80);
        gpu.kind = DeviceKind::Discrete;
        gpu.memory = None;
        assert_eq!(free_on(&gpu, 10), 10);
    }

    #[test]
    fn the_cpu_has_the_memory_of_the_machine() {
        let place = Place::of(DeviceChoice::Cpu, 0).unwrap();
        assert_eq!((place.name(), &place.gpu), ("CPU", &None));
        assert_eq!((place.kind(), place.to_string().as_str()), ("cpu", "CPU"));
        assert!(place.free > 0);
    }

    #[test]
    fn a_gpu_is_called_by_its_name_and_its_number() {
        let place = Place {
            device: DeviceChoice::Gpu(Some(1)),
            gpu: Some(card()),
            free: 80,
        };
        assert_eq!((place.name(), place.kind()), ("a card", "discrete"));
        assert_eq!(place.to_string(), "a card (gpu:1)");
    }
}
