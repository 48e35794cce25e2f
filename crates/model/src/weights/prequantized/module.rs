//! The parts of one quantised matrix, as they lie beside each other under the name of their module.

use safetensors::tensor::Dtype;

use super::super::TensorSource;
use super::super::safetensors::{RawTensor, SafetensorsSource, float_format};
use crate::error::{ModelError, Result};

/// The parts of one quantised matrix.
pub(super) struct QuantizedModule<'a> {
    pub(super) files: &'a SafetensorsSource,
    pub(super) name: &'a str,
}

impl<'a> QuantizedModule<'a> {
    /// A part of the module, such as `scales`.
    pub(super) fn part(&self, part: &str) -> Result<Option<RawTensor<'a>>> {
        self.files.raw(&format!("{}.{part}", self.name))
    }

    /// A part that must be there.
    pub(super) fn required(&self, part: &str) -> Result<RawTensor<'a>> {
        self.part(part)?.ok_or_else(|| ModelError::MissingTensor {
            name: format!("{}.{part}", self.name),
            path: self.files.path().to_owned(),
        })
    }

    /// A part in 32-bit words.
    pub(super) fn words(&self, part: &str) -> Result<Words<'a>> {
        let raw = self.required(part)?;
        match (raw.dtype, raw.shape) {
            (Dtype::I32 | Dtype::U32, &[rows, columns]) => Ok(Words {
                rows,
                columns,
                bytes: raw.bytes,
            }),
            _ => Err(self.invalid(format!(
                "{part} has type {:?} and shape {:?}, not rows of 32-bit integers",
                raw.dtype, raw.shape
            ))),
        }
    }

    /// A part in floats of any precision, with its shape.
    pub(super) fn floats(&self, part: &str) -> Result<Option<(Vec<f32>, &'a [usize])>> {
        let Some(raw) = self.part(part)? else {
            return Ok(None);
        };
        let format = float_format(&format!("{}.{part}", self.name), raw.dtype)?;
        let mut values = vec![0.0; raw.shape.iter().product()];
        matou_kernels::dequantize(format, raw.bytes, &mut values)
            .map_err(|error| self.invalid(error.to_string()))?;
        Ok(Some((values, raw.shape)))
    }

    pub(super) fn invalid(&self, message: String) -> ModelError {
        ModelError::InvalidFile {
            path: self.files.path().to_owned(),
            message: format!("{}: {message}", self.name),
        }
    }
}

/// A matrix of 32-bit words, little-endian.
pub(super) struct Words<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bytes: &'a [u8],
}

impl Words<'_> {
    /// The word at a place, which must be inside.
    pub(super) fn at(&self, row: usize, column: usize) -> u32 {
        let at = 4 * (row * self.columns + column);
        let bytes = self.bytes[at..at + 4].as_array().expect("four bytes");
        u32::from_le_bytes(*bytes)
    }

    /// The four bits at place `nibble` of a word.
    pub(super) fn nibble(&self, row: usize, column: usize, nibble: usize) -> u8 {
        (self.at(row, column) >> (4 * nibble) & 15) as u8
    }
}
