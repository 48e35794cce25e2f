//! Which devices there are.

use std::sync::OnceLock;

use crate::pipelines::Compiler;
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

/// A device that can be opened.
pub(crate) struct Found {
    pub(crate) adapter: wgpu::Adapter,
    pub(crate) info: DeviceInfo,
    pub(crate) compiler: Compiler,
}

/// By what a device is known again. Where the bus is not known, two equal cards look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    driver: String,
    vendor: u32,
    device: u32,
    pci_bus: String,
}

impl Found {
    pub(crate) fn identity(&self) -> Identity {
        let info = self.adapter.get_info();
        Identity {
            name: self.info.name.clone(),
            driver: self.info.driver.clone(),
            vendor: info.vendor,
            device: info.device,
            pci_bus: info.device_pci_bus_id,
        }
    }
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

/// Each with its number.
pub(crate) fn adapters() -> Vec<Found> {
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

#[cfg(test)]
impl Identity {
    pub(crate) fn example(name: &str, pci_bus: &str) -> Self {
        Self {
            name: name.to_owned(),
            driver: "1.0".to_owned(),
            vendor: 1,
            device: 2,
            pci_bus: pci_bus.to_owned(),
        }
    }
}
