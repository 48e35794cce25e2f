//! Devices: which there are, and one opened.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::error::GpuError;
use crate::kept;
use crate::pipelines::{Compiler, Pipelines};
use crate::vulkan::{self, DeviceMemory};

/// What is known of a device before it is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceInfo {
    /// Its number in [`list`], by which it is opened.
    pub index: usize,
    /// What its vendor calls it.
    pub name: String,
    /// Name and version of its driver.
    pub driver: String,
    /// The interface to the driver: `Vulkan`, `Metal` or `Direct3D 12`.
    pub api: &'static str,
    /// What it is made of.
    pub kind: DeviceKind,
    /// Its memory, where the driver says.
    pub memory: Option<DeviceMemory>,
    /// What it offers beyond the necessary, for a report.
    pub features: Vec<&'static str>,
    /// The most bytes that a kernel can address in one buffer.
    pub max_binding_bytes: u64,
    /// Why it cannot be used, if it cannot.
    pub missing: Option<String>,
}

/// What a device is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A card with memory of its own.
    Discrete,
    /// Part of the processor, whose memory it shares.
    Integrated,
    /// A share of a card, lent to a virtual machine.
    Virtual,
    /// Something that the driver does not call any of these.
    Other,
    /// A program on the CPU that behaves like a GPU: for tests, not for speed.
    Software,
}

/// All devices of this machine that a driver offers, usable or not: real ones first (discrete,
/// integrated, virtual, other), software last, and in the same order on each call. Empty without a driver.
pub fn list() -> Vec<DeviceInfo> {
    adapters().into_iter().map(|found| found.info).collect()
}

struct Found {
    adapter: wgpu::Adapter,
    info: DeviceInfo,
    compiler: Compiler,
}

/// The instance is never dropped: drivers do not like to be unloaded and loaded again.
fn instance() -> &'static wgpu::Instance {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: BACKENDS,
            // Neither the layers of a developer's driver nor wgpu's checks of indirect calls.
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        })
    })
}

const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN
    .union(wgpu::Backends::METAL)
    .union(wgpu::Backends::DX12);

fn adapters() -> Vec<Found> {
    let adapters = pollster::block_on(instance().enumerate_adapters(BACKENDS));
    let mut found: Vec<Found> = adapters.into_iter().map(describe).collect();
    // Stable: what is equal stays in the driver's order. One card by two interfaces: Vulkan first.
    found.sort_by_key(|found| (found.info.kind, found.info.api != "Vulkan"));
    for (index, found) in found.iter_mut().enumerate() {
        found.info.index = index;
    }
    found
}

fn describe(adapter: wgpu::Adapter) -> Found {
    let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
    let vulkan = vulkan::query(&adapter);
    let passthrough = features.contains(wgpu::Features::PASSTHROUGH_SHADERS);
    let compiler = match &vulkan {
        Some(vulkan) if passthrough => Compiler::Spirv {
            integer_dot: vulkan.integer_dot,
        },
        _ => Compiler::Wgsl,
    };
    let mut offered = Vec::new();
    if vulkan.as_ref().is_some_and(|vulkan| vulkan.integer_dot) {
        offered.push("integer dot product");
    }
    if matches!(compiler, Compiler::Spirv { .. }) {
        offered.push("SPIR-V");
    }
    for (feature, name) in [
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::PIPELINE_CACHE, "pipeline cache"),
    ] {
        if features.contains(feature) {
            offered.push(name);
        }
    }
    let is_1_0 = vulkan.as_ref().is_some_and(|vulkan| !vulkan.is_1_1);
    let missing = if is_1_0 {
        Some("its driver does not support Vulkan 1.1".to_owned())
    } else {
        missing(features, &limits)
    };
    Found {
        info: DeviceInfo {
            index: 0,
            name: info.name,
            driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
            api: match info.backend {
                wgpu::Backend::Vulkan => "Vulkan",
                wgpu::Backend::Metal => "Metal",
                wgpu::Backend::Dx12 => "Direct3D 12",
                _ => "other",
            },
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
                wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
                wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
                wgpu::DeviceType::Cpu => DeviceKind::Software,
                wgpu::DeviceType::Other => DeviceKind::Other,
            },
            memory: vulkan.and_then(|vulkan| vulkan.memory),
            features: offered,
            max_binding_bytes: max_binding_bytes(&limits),
            missing,
        },
        adapter,
        compiler,
    }
}

fn max_binding_bytes(limits: &wgpu::Limits) -> u64 {
    // Kernels count words in 32 bits, and whole words.
    limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size)
        .min(u64::from(u32::MAX))
        / 256
        * 256
}

/// The first thing that kernels need and the device lacks.
fn missing(features: wgpu::Features, limits: &wgpu::Limits) -> Option<String> {
    if !features.contains(wgpu::Features::IMMEDIATES) {
        return Some("its driver has no immediates (push constants)".to_owned());
    }
    [
        ("bytes of immediates", limits.max_immediate_size, 64),
        (
            "storage buffers of a kernel",
            limits.max_storage_buffers_per_shader_stage,
            8,
        ),
        (
            "invocations of a workgroup",
            limits.max_compute_invocations_per_workgroup,
            256,
        ),
        (
            "invocations of a workgroup along x",
            limits.max_compute_workgroup_size_x,
            256,
        ),
        (
            "bytes of workgroup memory",
            limits.max_compute_workgroup_storage_size,
            16 << 10,
        ),
    ]
    .into_iter()
    .find(|&(_, has, wanted)| has < wanted)
    .map(|(what, has, wanted)| format!("it has {has} {what}, and {wanted} are needed"))
}

/// An opened device, shared by all that use it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    adapter: wgpu::Adapter,
    raw: wgpu::Device,
    queue: wgpu::Queue,
    compiler: Compiler,
    pipelines: Pipelines,
    faults: Arc<Faults>,
    max_groups: u32,
    kept: OnceLock<Kept>,
    /// What came of the comparison with the CPU.
    trusted: OnceLock<Result<(), GpuError>>,
}

/// Compiled kernels that are kept in a file.
struct Kept {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

/// What the driver reports when nobody has asked.
#[derive(Default)]
struct Faults {
    lost: OnceLock<String>,
    /// The first error since the last look.
    refused: Mutex<Option<wgpu::Error>>,
}

impl Device {
    /// Opens the device of this number in [`list`]. The same number again gives the same device, as long
    /// as somebody holds it and it is not lost.
    ///
    /// # Errors
    /// If there is no such device, if it lacks what the kernels need, or if its driver refuses.
    pub fn open(index: usize) -> Result<Self, GpuError> {
        static OPENED: Mutex<Vec<(usize, Weak<Inner>)>> = Mutex::new(Vec::new());

        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|(_, device)| device.strong_count() > 0);
        let same = opened.iter().filter(|(number, _)| *number == index);
        for device in same.filter_map(|(_, device)| device.upgrade()) {
            if device.faults.lost.get().is_none() {
                return Ok(Self(device));
            }
        }
        let found = adapters();
        if found.is_empty() {
            return Err(GpuError::NoDriver);
        }
        let names = || {
            let names = found.iter().map(|found| &found.info);
            let names: Vec<String> = names
                .map(|info| format!("{} {}", info.index, info.name))
                .collect();
            names.join(", ")
        };
        let Some(chosen) = found.get(index) else {
            return Err(GpuError::NoDevice {
                wanted: index,
                found: names(),
            });
        };
        let device = Self::open_found(chosen)?;
        opened.push((index, Arc::downgrade(&device.0)));
        Ok(device)
    }

    fn open_found(found: &Found) -> Result<Self, GpuError> {
        let info = found.info.clone();
        if let Some(missing) = &info.missing {
            return Err(GpuError::MissingFeature {
                device: info.name,
                feature: missing.clone(),
            });
        }
        let mut required_features = wgpu::Features::IMMEDIATES;
        if matches!(found.compiler, Compiler::Spirv { .. }) {
            required_features |= wgpu::Features::PASSTHROUGH_SHADERS;
        }
        required_features |= found.adapter.features() & wgpu::Features::PIPELINE_CACHE;
        let required_limits = found.adapter.limits();
        let max_groups = required_limits.max_compute_workgroups_per_dimension;
        let request = found.adapter.request_device(&wgpu::DeviceDescriptor {
            label: None,
            required_features,
            required_limits,
            // Weights and caches are large buffers anyway; the rest shall not reserve much.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        });
        let (raw, queue) = pollster::block_on(request).map_err(|error| GpuError::Open {
            device: info.name.clone(),
            message: error.to_string(),
        })?;
        let faults = Arc::new(Faults::default());
        let lost = Arc::clone(&faults);
        raw.set_device_lost_callback(move |_, message| {
            let _ = lost.lost.set(message); // the first one
        });
        let refused = Arc::clone(&faults);
        raw.on_uncaptured_error(Arc::new(move |error| {
            let mut first = refused
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        }));
        Ok(Self(Arc::new(Inner {
            info,
            adapter: found.adapter.clone(),
            raw,
            queue,
            compiler: found.compiler,
            pipelines: Pipelines::default(),
            faults,
            max_groups,
            kept: OnceLock::new(),
            trusted: OnceLock::new(),
        })))
    }

    /// What is known of it. Its memory is as it was when it was opened.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Its memory as it is now, where the driver says.
    pub fn memory(&self) -> Option<DeviceMemory> {
        vulkan::query(&self.0.adapter).and_then(|vulkan| vulkan.memory)
    }

    /// What the driver said when the device was lost, if it was.
    pub fn is_lost(&self) -> Option<String> {
        self.0.faults.lost.get().cloned()
    }

    /// Keeps compiled kernels in a file of `folder`, where the device's driver leaves that to programs: what
    /// an earlier process has compiled need not be compiled again. To be called before the first kernel;
    /// without it, or with a file that does not fit, everything is compiled.
    pub fn keep_pipelines(&self, folder: &Path) {
        if !self
            .raw()
            .features()
            .contains(wgpu::Features::PIPELINE_CACHE)
        {
            return;
        }
        let Some(name) = wgpu::util::pipeline_cache_key(&self.0.adapter.get_info()) else {
            return;
        };
        self.0.kept.get_or_init(|| {
            let path = folder.join(name);
            let data = std::fs::read(&path).ok();
            let data = data.as_deref().and_then(kept::open);
            let cache = vulkan::pipeline_cache(self.raw(), data);
            Kept { cache, path }
        });
    }

    /// Writes the compiled kernels to the file of [`keep_pipelines`](Self::keep_pipelines), if there is one.
    ///
    /// # Errors
    /// If the file or its folder cannot be written.
    pub fn save_pipelines(&self) -> std::io::Result<()> {
        let Some(kept) = self.0.kept.get() else {
            return Ok(());
        };
        let Some(data) = kept.cache.get_data() else {
            return Ok(());
        };
        if let Some(folder) = kept.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whole or not at all, whoever else writes it.
        let unfinished = kept.path.with_extension(std::process::id().to_string());
        std::fs::write(&unfinished, kept::seal(&data))?;
        std::fs::rename(&unfinished, &kept.path)
    }

    pub(crate) fn kept(&self) -> Option<&wgpu::PipelineCache> {
        self.0.kept.get().map(|kept| &kept.cache)
    }

    /// What `check` says, asked once.
    pub(crate) fn trust(
        &self,
        check: impl FnOnce() -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        self.0.trusted.get_or_init(check).clone()
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.info.name
    }

    pub(crate) fn raw(&self) -> &wgpu::Device {
        &self.0.raw
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.0.pipelines
    }

    pub(crate) fn compiler(&self) -> Compiler {
        self.0.compiler
    }

    /// The most workgroups of a dispatch along one dimension.
    pub(crate) fn max_groups(&self) -> u32 {
        self.0.max_groups
    }

    /// # Errors
    /// If the device was lost.
    pub(crate) fn check_lost(&self) -> Result<(), GpuError> {
        match self.is_lost() {
            None => Ok(()),
            Some(message) => Err(GpuError::Lost {
                device: self.name().to_owned(),
                message,
            }),
        }
    }

    /// # Errors
    /// If the device was lost, or refused something since the last call.
    fn check(&self) -> Result<(), GpuError> {
        self.check_lost()?;
        let refused = self
            .0
            .faults
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(refused) = refused else {
            return Ok(());
        };
        // A lost device refuses everything, and says that it is lost only when it is asked.
        let _ = self.poll(wgpu::PollType::Poll);
        self.check_lost()?;
        let device = self.name().to_owned();
        Err(match refused {
            wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory {
                device,
                what: "a step".to_owned(),
                bytes: 0,
            },
            error => GpuError::Failed {
                device,
                message: error.to_string(),
            },
        })
    }

    fn poll(&self, how: wgpu::PollType) -> Result<(), String> {
        // wgpu panics where a device is lost while it waits.
        let poll = || self.raw().poll(how);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("waiting for it failed".to_owned()),
        }
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// If the device was lost, or refused something since the last call.
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.check()?;
        let waited = self.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        waited.map_err(|message| GpuError::Lost {
            device: self.name().to_owned(),
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lost_device_is_asked_for_is_an_error() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        // Not the one that other tests share.
        let device = Device::open_found(&found).unwrap();
        let stream = device.stream();
        let x = stream.upload(&[1.0; 8], 1, 8).unwrap();
        device.raw().destroy();
        let lost = |result: Result<(), GpuError>| {
            assert!(matches!(result, Err(GpuError::Lost { .. })), "{result:?}");
        };
        lost(stream.read(&x).map(|_| ()));
        lost(stream.finish());
        lost(stream.tensor(1000, 1000).map(|_| ()));
        assert!(device.is_lost().is_some());
    }

    #[test]
    fn compiled_kernels_are_kept_in_a_file() {
        let Some(found) = adapters().into_iter().next() else {
            return;
        };
        let folder = std::env::temp_dir().join(format!("matou-gpu-{}", std::process::id()));
        let device = Device::open_found(&found).unwrap();
        device.save_pipelines().unwrap();
        assert!(!folder.exists(), "nobody has asked for it");
        for _ in 0..2 {
            let device = Device::open_found(&found).unwrap();
            device.keep_pipelines(&folder);
            let stream = device.stream();
            stream.finish().unwrap();
            device.save_pipelines().unwrap();
        }
        if device
            .raw()
            .features()
            .contains(wgpu::Features::PIPELINE_CACHE)
        {
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}
