//! Safetensors: one file, or shards with `model.safetensors.index.json`.
//!
//! The header is parsed by the `safetensors` crate, which bounds it to 100 MB and checks that the
//! tensors tile the file exactly; here are the shards, and the element types that matou computes
//! with.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use matou_kernels::Format;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::Deserialize;

use super::gguf::map_file;
use super::{TensorSource, TensorView};
use crate::error::{ModelError, Result};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The weights of a folder in Hugging Face layout.
#[derive(Debug)]
pub(crate) struct SafetensorsSource {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// The shard that each tensor is in.
    locations: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    map: Mmap,
    metadata: Metadata,
    /// Offset of the tensors' data in the file.
    data_start: usize,
}

/// `model.safetensors.index.json`; its other fields are of no use here.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsSource {
    /// Maps the weights of `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut source = Self {
            folder: folder.to_owned(),
            shards: Vec::new(),
            locations: BTreeMap::new(),
        };
        if folder.join(SINGLE_FILE).exists() {
            source.add_shard(SINGLE_FILE)?;
        } else if folder.join(INDEX_FILE).exists() {
            source.add_indexed_shards()?;
        } else {
            return Err(invalid(
                folder,
                format!("there is neither {SINGLE_FILE} nor {INDEX_FILE} in this folder"),
            ));
        }
        Ok(source)
    }

    fn add_indexed_shards(&mut self) -> Result<()> {
        let index_path = self.folder.join(INDEX_FILE);
        let text = std::fs::read(&index_path).map_err(|source| ModelError::Io {
            path: index_path.clone(),
            source,
        })?;
        let index: ShardIndex = serde_json::from_slice(&text)
            .map_err(|error| invalid(&index_path, error.to_string()))?;
        let files: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        // The index comes from elsewhere: it must not point out of its folder.
        if let Some(file) = files.iter().find(|file| file.contains(['/', '\\', ':'])) {
            return Err(invalid(
                &index_path,
                format!("{file:?} is not a plain file name"),
            ));
        }
        let missing: Vec<&str> = files
            .iter()
            .copied()
            .filter(|file| !self.folder.join(file).exists())
            .collect();
        if !missing.is_empty() {
            return Err(invalid(
                &index_path,
                format!(
                    "{} of {} shards are missing: {}",
                    missing.len(),
                    files.len(),
                    missing.join(", ")
                ),
            ));
        }
        files
            .into_iter()
            .try_for_each(|file| self.add_shard(file))?;
        match index
            .weight_map
            .iter()
            .find(|(name, _)| !self.locations.contains_key(*name))
        {
            Some((name, file)) => Err(invalid(
                &index_path,
                format!("tensor {name} is said to be in {file}, but is in none of the shards"),
            )),
            None => Ok(()),
        }
    }

    fn add_shard(&mut self, file: &str) -> Result<()> {
        let path = self.folder.join(file);
        let map = map_file(&path)?;
        let (header_len, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| invalid(&path, error.to_string()))?;
        for name in metadata.tensors().into_keys() {
            if self
                .locations
                .insert(name.clone(), self.shards.len())
                .is_some()
            {
                return Err(invalid(
                    &path,
                    format!("tensor {name} is in another shard too"),
                ));
            }
        }
        self.shards.push(Shard {
            map,
            metadata,
            data_start: 8 + header_len,
        });
        Ok(())
    }
}

impl TensorSource for SafetensorsSource {
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(shard) = self.locations.get(name).map(|&shard| &self.shards[shard]) else {
            return Ok(None);
        };
        let Some(info) = shard.metadata.info(name) else {
            return Ok(None);
        };
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            other => {
                return Err(ModelError::UnsupportedTensorType {
                    name: name.to_owned(),
                    type_name: format!("{other:?}"),
                });
            }
        };
        let (start, end) = info.data_offsets;
        let bytes = shard
            .map
            .get(shard.data_start..)
            .and_then(|data| data.get(start..end))
            .ok_or_else(|| invalid(&self.folder, format!("tensor {name} lies outside its file")))?;
        Ok(Some(TensorView {
            format,
            shape: info.shape.clone(),
            bytes: Cow::Borrowed(bytes),
        }))
    }

    fn path(&self) -> &Path {
        &self.folder
    }

    fn total_bytes(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.metadata.data_len() as u64)
            .sum()
    }
}

fn invalid(path: &Path, message: String) -> ModelError {
    ModelError::InvalidFile {
        path: path.to_owned(),
        message,
    }
}
