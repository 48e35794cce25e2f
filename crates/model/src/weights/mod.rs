//! Where weights come from.
//!
//! A family asks for tensors by their Hugging Face names and gets a [`TensorView`]: format, shape
//! and bytes. Whether these lie in a GGUF file or in safetensors is settled behind
//! [`TensorSource`].

mod bytes;
mod ggml_type;
mod gguf;
mod gguf_source;
mod gguf_value;
mod safetensors;

use std::borrow::Cow;
use std::path::Path;

use matou_kernels::Format;

pub use self::gguf::{GgufFile, GgufTensor};
pub(crate) use self::gguf_source::GgufSource;
pub use self::gguf_value::{GgufArray, GgufMetadata, GgufValue};
pub(crate) use self::safetensors::SafetensorsSource;
use crate::error::Result;

/// One tensor's data as it lies on disk, or reordered from it.
#[derive(Debug)]
pub(crate) struct TensorView<'a> {
    /// How the elements are encoded.
    pub(crate) format: Format,
    /// Dimensions, slowest first: `[rows, columns]` of a matrix.
    pub(crate) shape: Vec<usize>,
    /// The encoded rows, one after the other.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// Weights of one model, by the names they have on Hugging Face.
pub(crate) trait TensorSource {
    /// The tensor of that name, if there is one.
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>>;

    /// The file or folder, for messages.
    fn path(&self) -> &Path;

    /// Bytes of all tensors together, for progress.
    fn total_bytes(&self) -> u64;
}
