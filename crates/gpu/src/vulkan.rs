//! What wgpu does not say of a Vulkan device, and what it does not check: the one place with unsafe
//! code.
//!
//! - the size and the budget of a device's memory, whether it multiplies packed bytes, its version;
//! - shaders in SPIR-V, handed to the driver as they are;
//! - compiled kernels from a file;
//! - the environment that drivers read.
#![allow(unsafe_code)] // calls of the Vulkan API, shaders that the driver gets unchecked, the environment

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// All of it: the largest heap of the device's own memory.
    pub total: u64,
    /// What this process may still take of it without slowing down; `None` if the driver does not say and
    /// the device is not opened.
    pub free: Option<u64>,
}

/// Keeps a layer of Mesa's, which picks a desktop's default among several GPUs, from complaining on the
/// standard error output of a machine without a desktop, each time that devices are listed. Nothing is
/// changed where the environment says something of that layer.
///
/// To be called at the beginning of `main`, before there are threads, and nowhere else: other threads
/// could read the environment while it is written.
pub fn quiet_drivers() {
    const OFF: &str = "NODEVICE_SELECT";
    if std::env::var_os(OFF).is_none() {
        // SAFETY: no other thread is there yet to read or write the environment.
        unsafe { std::env::set_var(OFF, "1") };
    }
}

/// What Vulkan says of a device.
pub(crate) struct Vulkan {
    /// Its memory; `None` if it has none of its own.
    pub(crate) memory: Option<DeviceMemory>,
    /// Whether it supports Vulkan 1.1, whose SPIR-V the shaders are compiled to.
    pub(crate) is_1_1: bool,
    /// Whether it has instructions for products of packed bytes.
    pub(crate) integer_dot: bool,
}

/// Asks the driver; `None` if the device is of another API.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn query(adapter: &wgpu::Adapter) -> Option<Vulkan> {
    use ash::{ext, khr, vk};

    // SAFETY: nothing is destroyed or changed through the handle.
    let adapter = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = adapter.shared_instance().raw_instance();
    let device = adapter.raw_physical_device();
    // SAFETY: the device belongs to the instance, and both live as long as `adapter`.
    let (properties, extensions) = unsafe {
        (
            instance.get_physical_device_properties(device),
            instance
                .enumerate_device_extension_properties(device)
                .unwrap_or_default(),
        )
    };
    let has = |name| {
        extensions
            .iter()
            .any(|extension| extension.extension_name_as_c_str() == Ok(name))
    };
    let version = properties.api_version;
    if version < vk::API_VERSION_1_1 {
        return Some(Vulkan {
            memory: None,
            is_1_1: false,
            integer_dot: false,
        });
    }

    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut memory = vk::PhysicalDeviceMemoryProperties2::default();
    let has_budget = has(ext::memory_budget::NAME);
    if has_budget {
        memory = memory.push_next(&mut budget);
    }
    // SAFETY: as above; the chained structure is of an extension that the device has.
    unsafe { instance.get_physical_device_memory_properties2(device, &mut memory) };
    let heaps = memory.memory_properties;
    let heaps = heaps.memory_heaps[..heaps.memory_heap_count as usize].iter();
    let largest = heaps
        .enumerate()
        .filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL))
        .max_by_key(|(_, heap)| heap.size)
        .map(|(index, heap)| (index, heap.size));
    let memory = largest.map(|(index, total)| DeviceMemory {
        total,
        free: has_budget
            .then(|| budget.heap_budget[index].saturating_sub(budget.heap_usage[index])),
    });

    let mut dot = vk::PhysicalDeviceShaderIntegerDotProductFeatures::default();
    if version >= vk::API_VERSION_1_3 || has(khr::shader_integer_dot_product::NAME) {
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut dot);
        // SAFETY: as above.
        unsafe { instance.get_physical_device_features2(device, &mut features) };
    }
    Some(Vulkan {
        memory,
        is_1_1: true,
        integer_dot: dot.shader_integer_dot_product == vk::TRUE,
    })
}

/// There is no Vulkan of its own on these systems.
#[cfg(target_vendor = "apple")]
pub(crate) fn query(_: &wgpu::Adapter) -> Option<Vulkan> {
    None
}

/// A shader whose SPIR-V the driver gets as it is.
pub(crate) fn shader(device: &wgpu::Device, words: &[u32]) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
        label: None,
        entry_points: vec![wgpu::PassthroughShaderEntryPoint {
            name: "main".into(),
            workgroup_size: (0, 0, 0), // read from the shader
        }]
        .into(),
        spirv: Some(words.into()),
        ..Default::default()
    };
    // SAFETY: naga has validated the module that the words were written from, and they were only
    // decorated since. What it does not check is indices: kernels get the lengths of their buffers,
    // and stay inside; tests run them all.
    unsafe { device.create_shader_module_passthrough(descriptor) }
}

/// A cache of compiled kernels, filled from what an earlier one of this device held.
pub(crate) fn pipeline_cache(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: None,
        data,
        fallback: true,
    };
    // SAFETY: the data are of a file that only `Device::save_pipelines` writes, whole or not at all,
    // and whose check was right; wgpu and the driver check device and version.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
