//! Where weights come from.
//!
//! A family asks for tensors by their Hugging Face names and gets a [`TensorView`]: format, shape
//! and bytes. Whether these lie in a GGUF file or in safetensors, under which names and quantised
//! by whom, is settled behind [`TensorSource`].

mod bytes;
mod file_map;
mod ggml_type;
mod gguf;
mod gguf_source;
mod gguf_value;
mod mistral;
mod prequantized;
mod rows;
mod safetensors;
mod synthetic;

use std::borrow::Cow;
use std::path::Path;

use matou_kernels::Format;

pub use self::gguf::{GgufFile, GgufTensor};
pub(crate) use self::gguf_source::GgufSource;
pub use self::gguf_value::{GgufArray, GgufMetadata, GgufValue};
pub(crate) use self::mistral::MistralSource;
pub(crate) use self::prequantized::{Method, PrequantizedSource};
pub(crate) use self::safetensors::{CONSOLIDATED, FileNames, HUGGING_FACE, SafetensorsSource};
pub use self::synthetic::Shape;
pub(crate) use self::synthetic::SyntheticSource;
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
    /// The format to pack it in unless told otherwise, where `format` is only the one that nothing
    /// is lost in.
    pub(crate) packed_as: Option<Format>,
}

/// A tensor as the headers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    /// The name in the file.
    pub(crate) name: String,
    /// Dimensions, slowest first.
    pub(crate) shape: Vec<usize>,
    /// As in [`TensorView`].
    pub(crate) format: Format,
    /// As in [`TensorView`].
    pub(crate) packed_as: Option<Format>,
}

/// Weights of one model, by the names they have on Hugging Face.
pub(crate) trait TensorSource: Send + Sync {
    /// The tensor of that name, if there is one.
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>>;

    /// What the file calls the tensor of that name, for messages.
    fn own_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Lets go of the memory that reading tensors took; they can be read again.
    fn release(&self);

    /// The file or folder, for messages.
    fn path(&self) -> &Path;

    /// Bytes of all tensors together, for progress.
    fn total_bytes(&self) -> u64;

    /// All tensors, without touching their data.
    fn tensors(&self) -> Result<Vec<TensorInfo>>;
}
