//! Adapters in GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them.

use std::path::Path;
use std::sync::Arc;

use super::modules::{ModuleTensors, Modules, packed_bytes};
use crate::error::{ModelError, Result};
use crate::weights::{GgufFile, GgufSource, GgufValue, TensorSource, TensorView};

/// A GGUF file of the type `adapter`.
#[derive(Debug)]
pub(super) struct GgufAdapter {
    file: Arc<GgufFile>,
    architecture: String,
    alpha: f32,
}

impl GgufAdapter {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(GgufFile::open(path)?);
        let invalid = |message: String| ModelError::InvalidFile {
            path: path.to_owned(),
            message,
        };
        let text = |key: &str| file.metadata().get(key).and_then(GgufValue::as_str);
        match text("general.type") {
            Some("adapter") => {}
            Some(other) => {
                return Err(invalid(format!(
                    "this GGUF file is of the type {other:?}, not \"adapter\""
                )));
            }
            None => {
                return Err(invalid(
                    "this GGUF file does not say that it is an adapter (`general.type`); a model is \
                     served by its own name"
                        .to_owned(),
                ));
            }
        }
        match text("adapter.type") {
            Some("lora") => {}
            other => {
                return Err(invalid(format!(
                    "`adapter.type` is {}; only \"lora\" is supported",
                    other.unwrap_or("missing")
                )));
            }
        }
        if file
            .metadata()
            .get("adapter.alora.invocation_tokens")
            .is_some()
        {
            return Err(invalid(
                "activated LoRA (`adapter.alora.invocation_tokens`) is not supported".to_owned(),
            ));
        }
        let alpha = file
            .metadata()
            .get("adapter.lora.alpha")
            .and_then(GgufValue::as_f64)
            .ok_or_else(|| invalid("`adapter.lora.alpha` is missing".to_owned()))?;
        let architecture = text("general.architecture").unwrap_or_default().to_owned();
        Ok(Self {
            architecture,
            alpha: alpha as f32,
            file,
        })
    }

    pub(super) fn base(&self) -> Option<&str> {
        self.file
            .metadata()
            .get("general.base_model.0.name")
            .and_then(GgufValue::as_str)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let bytes = self.file.tensors().map(|(name, tensor)| {
            let data = self
                .file
                .data(name, tensor)
                .map_or(0, |(_, bytes)| bytes.len());
            packed_bytes(tensor.shape(), data as u64)
        });
        bytes.fold(0, u64::saturating_add)
    }

    /// What is there for each of `modules`, which are all that the model has.
    pub(super) fn modules(
        &self,
        modules: &[&str],
        (heads, kv_heads): (usize, usize),
    ) -> Result<Modules<'_>> {
        let source = GgufSource::new(Arc::clone(&self.file), &self.architecture, heads, kv_heads);
        let mut found = Modules::new();
        let mut known = 0;
        for &module in modules {
            let name = source.own_name(&format!("{module}.weight"));
            let (a_name, b_name) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
            let a = self.view(&a_name)?;
            let mut b = self.view(&b_name)?;
            if let Some(b) = &mut b {
                source.reorder(&format!("{module}.weight"), &b_name, b)?;
            }
            known += usize::from(a.is_some()) + usize::from(b.is_some());
            if a.is_none() && b.is_none() {
                continue;
            }
            let rank = a
                .as_ref()
                .and_then(|a| a.shape.first().copied())
                .unwrap_or(1);
            // As llama.cpp has it: without an alpha, B A is added as it is.
            let scale = match self.alpha {
                0.0 => 1.0,
                alpha => alpha / rank.max(1) as f32,
            };
            let tensors = ModuleTensors {
                a,
                b,
                scale,
                ..ModuleTensors::default()
            };
            found.insert(module.to_owned(), tensors);
        }
        if known < self.file.tensors().count() {
            return Err(self.unknown(modules, &source));
        }
        Ok(found)
    }

    fn view(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(tensor) = self.file.tensor(name) else {
            return Ok(None);
        };
        let (format, bytes) = self.file.data(name, tensor)?;
        Ok(Some(TensorView {
            format,
            shape: tensor.shape().to_vec(),
            bytes: bytes.into(),
            packed_as: None,
        }))
    }

    /// Names the first tensor that is for none of the modules.
    fn unknown(&self, modules: &[&str], source: &GgufSource) -> ModelError {
        let known: Vec<String> = modules
            .iter()
            .map(|module| source.own_name(&format!("{module}.weight")))
            .collect();
        let stem = |name: &str| {
            let stem = name
                .strip_suffix(".lora_a")
                .or(name.strip_suffix(".lora_b"));
            stem.map(str::to_owned)
        };
        let unknown = self
            .file
            .tensors()
            .map(|(name, _)| name)
            .find(|name| stem(name).is_none_or(|stem| !known.contains(&stem)));
        ModelError::InvalidFile {
            path: self.file.path().to_owned(),
            message: format!(
                "tensor {} adapts nothing that can be adapted in this model: it was made for another \
                 model, or for a part (embeddings, norms, merged experts) that is not supported",
                unknown.unwrap_or("?")
            ),
        }
    }
}
