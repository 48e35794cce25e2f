//! Compute shaders through wgpu (Vulkan, Metal, Direct3D 12): tensors on a GPU in, tensors out.
//!
//! | module | what it holds |
//! |---|---|
//! | `found`, `device` | which devices there are; one opened |
//! | `stream` | commands in order, recorded and submitted; results read back |
//! | `tensor`, `buffer` | what lies in the memory of a device; the pool of memory |
//! | `pipelines`, `spirv`, `template` | kernels: compiled at first use; without fused operations; written once for many types |
//! | `vulkan`, `kept` | what wgpu does not say of a device; compiled kernels in a file |
//! | `matrix`, `strips`, `product` | weights, packed as the CPU's kernels pack them; products with them; rows of embeddings |
//! | `norm`, `rope`, `activation`, `elementwise`, `rows` | the small operations between matrix products |
//! | `attention` | the key-value cache and paged attention |
//! | `experts` | which experts a token has, and their sum |
//! | `trust` | a product and an attention, held against the CPU's before a device is used |
//! | `roofs` | what the memory and the arithmetic of a device can do |
//!
//! What every kernel keeps to:
//!
//! 1. **A row depends on its own inputs alone.** As on the CPU: the order of floating-point operations is
//!    fixed by shapes and absolute positions, so that a row has the same bits in any batch, on one device
//!    with one driver. For that no operation may be fused with another: on Vulkan the shaders say so. Metal
//!    and Direct3D have no word for it, and there it is up to the driver. Other devices, and the CPU,
//!    round differently.
//! 2. **Nothing is required beyond WebGPU and push constants**: no subgroups, no 16-bit types, no
//!    cooperative matrices. Products of packed bytes are used where there are instructions for them.
//! 3. **A device may fail at any time**: without a driver, with too little memory, or lost. All of this is
//!    a [`GpuError`]; wrong shapes are bugs of the caller, and panic.

mod activation;
mod attention;
mod buffer;
mod device;
mod elementwise;
mod error;
mod experts;
mod found;
mod grid;
mod kept;
mod matrix;
mod norm;
mod pipelines;
mod product;
mod roofs;
mod rope;
mod rows;
mod spirv;
mod stream;
mod strips;
mod template;
mod tensor;
mod trust;
mod vulkan;

pub use activation::Activation;
pub use attention::{AttentionStep, KvCache};
pub use device::Device;
pub use error::GpuError;
pub use found::{DeviceInfo, DeviceKind, list};
pub use matrix::{Matrix, Stack};
pub use product::WARM_UP_ROWS;
pub use roofs::GpuRoofs;
pub use stream::{Counts, Stream};
pub use tensor::{Indices, Tensor, Vector};
pub use vulkan::{DeviceMemory, quiet_drivers};
