//! The files of an adapter, opened and their headers read.

use std::path::{Path, PathBuf};

use super::gguf::GgufAdapter;
use super::modules::Modules;
use super::peft::PeftAdapter;
use crate::error::{ModelError, Result};

/// An adapter whose headers and config have been read, and of whose weights nothing yet.
#[derive(Debug)]
pub struct AdapterFiles {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Peft(Box<PeftAdapter>),
    Gguf(Box<GgufAdapter>),
}

impl AdapterFiles {
    /// Opens a folder as PEFT saves it (`adapter_config.json`, `adapter_model.safetensors`), or a GGUF
    /// file of the type `adapter`.
    ///
    /// # Errors
    ///
    /// When files are missing or corrupt, or what they hold is no adapter that can be applied: each
    /// error names what it is about.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = if path.is_dir() {
            Kind::Peft(Box::new(PeftAdapter::open(path)?))
        } else if path
            .extension()
            .is_some_and(|extension| extension == "gguf")
        {
            Kind::Gguf(Box::new(GgufAdapter::open(path)?))
        } else if path.exists() {
            return Err(ModelError::InvalidFile {
                path: path.to_owned(),
                message: "an adapter is a folder with adapter_config.json and \
                          adapter_model.safetensors, or a GGUF file"
                    .to_owned(),
            });
        } else {
            return Err(ModelError::Io {
                path: path.to_owned(),
                source: std::io::ErrorKind::NotFound.into(),
            });
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
        })
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model that it was made for, as its files call it; nothing relies on it.
    pub fn base(&self) -> Option<&str> {
        match &self.kind {
            Kind::Peft(adapter) => adapter.base(),
            Kind::Gguf(adapter) => adapter.base(),
        }
    }

    /// Memory that it will take at most on the CPU, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Peft(adapter) => adapter.memory_bytes(),
            Kind::Gguf(adapter) => adapter.memory_bytes(),
        }
    }

    /// What is there for each module of a model with so many heads of queries, and of keys and values.
    pub(super) fn modules(&self, modules: &[&str], heads: (usize, usize)) -> Result<Modules<'_>> {
        match &self.kind {
            Kind::Peft(adapter) => adapter.modules(),
            Kind::Gguf(adapter) => adapter.modules(modules, heads),
        }
    }
}
