//! What can go wrong with a GPU, and what to do then.

use thiserror::Error;

/// An error of a device, its memory or its driver. Nothing in this crate panics on one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuError {
    /// No driver offers a device.
    #[error(
        "no GPU was found: there is no driver for Vulkan, Metal or Direct3D 12 here, or it offers no \
         device; install the driver of the GPU (`matou devices` lists what is found), or use \
         `--device cpu`, which always works"
    )]
    NoDriver,
    /// There are devices, but not this one.
    #[error("there is no GPU {wanted}; found: {found}; `--device cpu` always works")]
    NoDevice {
        /// The number asked for.
        wanted: usize,
        /// Numbers and names of those that there are.
        found: String,
    },
    /// A device or its driver cannot do what the kernels need.
    #[error(
        "{device} cannot be used: {feature}; a newer driver may help, and `--device cpu` always works"
    )]
    MissingFeature {
        /// Name of the device.
        device: String,
        /// What is missing.
        feature: String,
    },
    /// The driver refused to open the device.
    #[error("{device} could not be opened: {message}; `--device cpu` always works")]
    Open {
        /// Name of the device.
        device: String,
        /// What the driver says.
        message: String,
    },
    /// The device has no memory left.
    #[error(
        "{device} has no memory for {what} ({bytes} bytes); use a smaller context or a smaller model, \
         close what else uses the GPU, or use `--device cpu`"
    )]
    OutOfMemory {
        /// Name of the device.
        device: String,
        /// What the memory was for.
        what: String,
        /// How much was asked for; 0 if the driver did not say.
        bytes: u64,
    },
    /// More than one buffer of the device can hold.
    #[error(
        "{what} takes {bytes} bytes, but a buffer of {device} holds at most {limit}; `--device cpu` \
         always works"
    )]
    TooLarge {
        /// Name of the device.
        device: String,
        /// What the memory was for.
        what: String,
        /// How much it takes.
        bytes: u64,
        /// The most that a buffer holds.
        limit: u64,
    },
    /// The device is gone: unplugged, reset by its driver, or stuck for too long.
    #[error(
        "{device} was lost: {message}; models on it are loaded again when they are asked for, and `--device cpu` always \
         works"
    )]
    Lost {
        /// Name of the device.
        device: String,
        /// What the driver says.
        message: String,
    },
    /// The device or wgpu refused a command. A bug, of this crate or of the driver.
    #[error("{device} failed: {message}; `--device cpu` always works")]
    Failed {
        /// Name of the device.
        device: String,
        /// What was refused.
        message: String,
    },
    /// The device computes something else than the CPU. A bug, of this crate or of the driver.
    #[error(
        "{device} is not used: of {what} it makes {actual}, where the CPU makes {expected}; a newer driver \
         may help, and `--device cpu` always works"
    )]
    Wrong {
        /// Name of the device.
        device: String,
        /// What was computed.
        what: String,
        /// A number of the device.
        actual: String,
        /// The same of the CPU.
        expected: String,
    },
    /// A shader does not compile. A bug, of this crate or of the driver.
    #[error("a shader could not be compiled: {0}; `--device cpu` always works")]
    Shader(String),
    /// A model has a shape that no kernel is made for.
    #[error("{0}; `--device cpu` takes them")]
    Unsupported(String),
}
