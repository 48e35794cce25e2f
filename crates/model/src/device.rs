//! Which device a model runs on.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use matou_gpu::{Device, DeviceInfo, DeviceKind};
use matou_kernels::{Context, Isa};

use crate::error::Result;

/// Where a model is to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A graphics card with memory of its own that has room for the model, else the CPU.
    #[default]
    Auto,
    /// The CPU, with matou's kernels.
    Cpu,
    /// A GPU, with matou's compute shaders: the one of this number, or the first.
    Gpu(Option<usize>),
    /// The CPU with candle's own operations. Slow; the other side of comparisons.
    CpuReference,
}

/// What a device is asked to have room for, beside the model: other contexts than the shortest.
const ROOM: u64 = 512 << 20;

/// As `--device` has it.
impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu(None)),
            _ => {
                let index = text.strip_prefix("gpu:").and_then(|it| it.parse().ok());
                let index = index.ok_or(
                    "use auto, cpu, gpu, or gpu:N with a number that `matou devices` shows",
                )?;
                Ok(Self::Gpu(Some(index)))
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(index)) => write!(f, "gpu:{index}"),
            Self::CpuReference => f.write_str("cpu-reference"),
        }
    }
}

impl DeviceChoice {
    /// What there is to say of the device, where it is a GPU.
    ///
    /// # Errors
    ///
    /// When there is no such GPU, or it cannot be used, or it computes something else than the CPU.
    pub fn gpu(self) -> Result<Option<DeviceInfo>> {
        let Self::Gpu(index) = self else {
            return Ok(None);
        };
        let device = open(index.unwrap_or(0))?;
        device.check_against(&Context::new(Isa::detect(), 1))?;
        Ok(Some(DeviceInfo {
            memory: device.memory(),
            ..device.info().clone()
        }))
    }

    /// What this means on this machine, for a model that takes `bytes` bytes: never
    /// [`Auto`](Self::Auto), and a GPU has a number.
    ///
    /// # Errors
    ///
    /// When a GPU is asked for that is not there, or that cannot be used.
    pub fn resolve(self, bytes: u64) -> Result<Self> {
        match self {
            Self::Cpu | Self::CpuReference => Ok(self),
            Self::Auto => Ok(choose(&matou_gpu::list(), bytes)),
            Self::Gpu(index) => {
                let index = index.unwrap_or(0);
                // Found, and fit for use: opening it says what else is wrong.
                open(index)?;
                Ok(Self::Gpu(Some(index)))
            }
        }
    }
}

/// Opens a device, and keeps it open: whoever asks what it is will ask it to compute, and opening takes a
/// while.
pub(crate) fn open(index: usize) -> Result<Device> {
    static OPEN: Mutex<Vec<Device>> = Mutex::new(Vec::new());

    let device = Device::open(index)?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|device| device.is_lost().is_none());
    if open.iter().all(|other| other.info().index != index) {
        open.push(device.clone());
    }
    Ok(device)
}

/// The first device worth it. An integrated GPU reads the weights from the same memory as the CPU, and
/// a software one is the CPU: whoever wants either asks for it.
fn choose(devices: &[DeviceInfo], bytes: u64) -> DeviceChoice {
    let needed = bytes.saturating_add(bytes / 10).saturating_add(ROOM);
    let fits = |device: &&DeviceInfo| {
        let memory = device.memory.as_ref();
        device.kind == DeviceKind::Discrete
            && device.missing.is_none()
            && memory.is_some_and(|memory| memory.free.unwrap_or(memory.total) >= needed)
    };
    match devices.iter().find(fits) {
        Some(device) => DeviceChoice::Gpu(Some(device.index)),
        None => DeviceChoice::Cpu,
    }
}

#[cfg(test)]
mod tests {
    use matou_gpu::DeviceMemory;

    use super::*;

    fn device(index: usize, kind: DeviceKind, gib: u64) -> DeviceInfo {
        DeviceInfo {
            index,
            name: "a card".to_owned(),
            driver: "1".to_owned(),
            api: "Vulkan",
            kind,
            memory: Some(DeviceMemory {
                total: gib << 30,
                free: None,
            }),
            features: Vec::new(),
            max_binding_bytes: 1 << 30,
            missing: None,
        }
    }

    #[test]
    fn devices_are_written_as_they_are_read() {
        for text in ["auto", "cpu", "gpu", "gpu:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "tpu", "gpu:", "gpu:-1", "GPU", "cuda"] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains("matou devices"), "{text}: {error}");
        }
    }

    #[test]
    fn a_card_with_room_is_chosen_and_never_a_software_one() {
        let cards = [
            device(0, DeviceKind::Discrete, 4),
            device(1, DeviceKind::Discrete, 24),
            device(2, DeviceKind::Integrated, 64),
            device(3, DeviceKind::Software, 64),
        ];
        let chosen = |gib: u64| choose(&cards, gib << 30);
        assert_eq!(chosen(3), DeviceChoice::Gpu(Some(0)));
        assert_eq!(chosen(4), DeviceChoice::Gpu(Some(1)));
        assert_eq!(chosen(30), DeviceChoice::Cpu);
        assert_eq!(choose(&[], 0), DeviceChoice::Cpu);
    }

    #[test]
    fn a_card_that_lacks_something_is_passed_over() {
        let mut card = device(0, DeviceKind::Discrete, 24);
        card.missing = Some("push constants".to_owned());
        assert_eq!(choose(&[card], 1 << 30), DeviceChoice::Cpu);
        let mut unknown = device(0, DeviceKind::Discrete, 24);
        unknown.memory = None;
        assert_eq!(choose(&[unknown], 1 << 30), DeviceChoice::Cpu);
    }
}
