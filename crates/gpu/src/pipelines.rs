//! Compiled kernels: each variant is compiled at its first use, once a device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::GpuError;
use crate::{spirv, vulkan};

/// Pipelines of a device by key, and the layouts that they share.
#[derive(Default)]
pub(crate) struct Pipelines {
    by_key: Mutex<HashMap<String, Arc<Pipeline>>>,
    layouts: Mutex<Vec<Arc<Layout>>>,
}

/// A kernel that can be recorded.
pub(crate) struct Pipeline {
    /// The compiled kernel.
    pub(crate) raw: wgpu::ComputePipeline,
    /// The layout of what it binds.
    pub(crate) layout: Arc<Layout>,
}

/// What a kernel binds: so many buffers, some only read, and immediates.
pub(crate) struct Layout {
    /// Number of the layout among those of its device.
    pub(crate) id: u64,
    /// Of bind group 0.
    pub(crate) group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
    shape: Shape,
}

/// What layouts differ in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// For each buffer in the order of bindings: whether it is only read.
    pub(crate) read_only: Vec<bool>,
    /// Bytes of immediates.
    pub(crate) immediates: u32,
}

/// How shaders get to the device.
#[derive(Clone, Copy)]
pub(crate) enum Compiler {
    /// As SPIR-V of our own.
    Spirv {
        /// Whether the device has products of packed bytes.
        integer_dot: bool,
    },
    /// By wgpu.
    Wgsl,
}

impl Pipelines {
    /// The pipeline called `key`; at its first use, compiled from `source`.
    ///
    /// # Errors
    /// If it does not compile.
    pub(crate) fn get(
        &self,
        device: &wgpu::Device,
        compiler: Compiler,
        cache: Option<&wgpu::PipelineCache>,
        key: &str,
        shape: impl FnOnce() -> Shape,
        source: &dyn Fn() -> String,
    ) -> Result<Arc<Pipeline>, GpuError> {
        // Held while compiling: two threads would only compile the same.
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = by_key.get(key) {
            return Ok(Arc::clone(pipeline));
        }
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let pipeline = self.compile(device, compiler, cache, shape(), &source());
        // Inner first, and all, whatever the outcome.
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        let memory = pollster::block_on(memory.pop());
        if let Some(error) = internal.or(validation).or(memory) {
            return Err(GpuError::Shader(format!("{key}: {error}")));
        }
        let pipeline = Arc::new(pipeline.map_err(|error| match error {
            GpuError::Shader(message) => GpuError::Shader(format!("{key}: {message}")),
            error => error,
        })?);
        by_key.insert(key.to_owned(), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(
        &self,
        device: &wgpu::Device,
        compiler: Compiler,
        cache: Option<&wgpu::PipelineCache>,
        shape: Shape,
        source: &str,
    ) -> Result<Pipeline, GpuError> {
        let module = match compiler {
            Compiler::Spirv { integer_dot } => {
                vulkan::shader(device, &spirv::compile(source, integer_dot)?)
            }
            Compiler::Wgsl => device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl(source.into()),
            }),
        };
        let layout = self.layout(device, shape);
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&layout.pipeline),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache,
        });
        Ok(Pipeline { raw, layout })
    }

    fn layout(&self, device: &wgpu::Device, shape: Shape) -> Arc<Layout> {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = layouts.iter().find(|layout| layout.shape == shape) {
            return Arc::clone(layout);
        }
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(&shape.read_only)
            .map(|(binding, &read_only)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        });
        let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&group)],
            immediate_size: shape.immediates,
        });
        let layout = Arc::new(Layout {
            id: layouts.len() as u64,
            group,
            pipeline,
            shape,
        });
        layouts.push(Arc::clone(&layout));
        layout
    }
}
