//! Checkpoints that somebody else has quantised: GPTQ, AWQ, compressed-tensors and FP8.
//!
//! Four-bit weights with a scale and a zero point for each group of inputs become Q4_0 where every
//! zero point is 8, and else Q5_0, whose codes hold the difference: both exactly, but for scales that
//! are not half-precision numbers. FP8 weights become what their products with the scales are, in f32,
//! to be packed as Q8_0 unless told otherwise.

mod float8;
mod four_bit;
mod method;
mod module;
#[cfg(test)]
mod tests;

use std::path::Path;

use matou_kernels::Format;
use safetensors::tensor::Dtype;

pub(crate) use self::method::Method;
use self::module::QuantizedModule;
use super::safetensors::{SafetensorsSource, float_format};
use super::{TensorInfo, TensorSource, TensorView};
use crate::error::Result;

/// Safetensors of which some are quantised.
pub(crate) struct PrequantizedSource {
    files: SafetensorsSource,
    method: Option<Method>,
}

impl PrequantizedSource {
    /// Reads `files` as `method` has it; FP8 weights are recognised without.
    pub(crate) fn new(files: SafetensorsSource, method: Option<Method>) -> Self {
        Self { files, method }
    }
}

impl TensorSource for PrequantizedSource {
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        for name in spellings(name) {
            if let Some(view) = self.find(&name)? {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }

    fn release(&self) {
        self.files.release();
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    fn total_bytes(&self) -> u64 {
        self.files.total_bytes()
    }

    fn tensors(&self) -> Result<Vec<TensorInfo>> {
        let mut tensors = Vec::new();
        for name in self.files.names().filter(|name| !is_of_another_sense(name)) {
            tensors.extend(self.describe(name)?);
        }
        Ok(tensors)
    }
}

/// A tensor's name in a model of text alone, and the two that it may have in one that also sees.
fn spellings(name: &str) -> [String; 3] {
    [
        name.to_owned(),
        format!("language_model.{name}"),
        name.replacen("model.", "model.language_model.", 1),
    ]
}

/// Whether a tensor belongs to the part of a model that sees, which is not run.
fn is_of_another_sense(name: &str) -> bool {
    let part = name.strip_prefix("model.").unwrap_or(name);
    [
        "vision_",
        "multi_modal_projector",
        "patch_merger",
        "pre_mm_projector_norm",
    ]
    .iter()
    .any(|prefix| part.starts_with(prefix))
}

impl PrequantizedSource {
    /// The tensor of exactly that name.
    fn find(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        if let Some(module) = name.strip_suffix(".weight") {
            let module = QuantizedModule {
                files: &self.files,
                name: module,
            };
            match self.files.raw(name)? {
                Some(raw) if raw.dtype == Dtype::F8_E4M3 => {
                    return float8::dequantize(&module, raw).map(Some);
                }
                None => {
                    if let Some(method) = &self.method
                        && let Some(view) = method.unpack(&module)?
                    {
                        return Ok(Some(view));
                    }
                }
                _ => {}
            }
        }
        self.files.get(name)
    }

    /// What the header says of a tensor; nothing for the lesser parts of quantised ones.
    fn describe(&self, name: &str) -> Result<Option<TensorInfo>> {
        let Some(raw) = self.files.raw(name)? else {
            return Ok(None);
        };
        let plain = |shape: &[usize], format| TensorInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            format,
            packed_as: None,
        };
        if raw.dtype == Dtype::F8_E4M3 {
            return Ok(Some(TensorInfo {
                packed_as: Some(float8::PACKED_AS),
                ..plain(raw.shape, Format::F32)
            }));
        }
        if let Some(method) = &self.method
            && let Some((module, part)) = name.rsplit_once('.')
            && method.has_part(part)
        {
            let module = QuantizedModule {
                files: &self.files,
                name: module,
            };
            let described = method.describe(&module, part)?;
            return Ok(described.map(|(shape, format)| TensorInfo {
                name: format!("{}.weight", module.name),
                shape: shape.to_vec(),
                format,
                packed_as: None,
            }));
        }
        if float8::is_scale(name) {
            return Ok(None);
        }
        // What is of another type may be of no use; if it is, loading says so.
        let format = float_format(name, raw.dtype).ok();
        Ok(format.map(|format| plain(raw.shape, format)))
    }
}
