//! Element types of GGUF tensors, by their numbers.

use matou_kernels::Format;

/// A type's number in the file. Any number can occur there, so this is not an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GgmlType(pub(super) u32);

impl GgmlType {
    /// The kernels' format for this type, if they have one.
    pub(super) fn format(self) -> Option<Format> {
        Format::from_ggml(self.0)
    }

    /// The type's name, or its number where it has none.
    pub(super) fn name(self) -> String {
        if let Some(format) = self.format() {
            return format.name().to_owned();
        }
        let name = match self.0 {
            9 => "Q8_1",
            15 => "Q8_K",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            28 => "F64",
            40 => "NVFP4",
            41 => "Q1_0",
            number => return format!("number {number}"),
        };
        name.to_owned()
    }
}
