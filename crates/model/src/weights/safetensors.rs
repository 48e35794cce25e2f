//! Safetensors: one file, or shards with `model.safetensors.index.json`.
//!
//! The header is parsed by the `safetensors` crate, which bounds it to 100 MB and checks that the
//! tensors tile the file exactly; here are the shards, and the element types that matou computes
//! with.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use matou_kernels::Format;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::Deserialize;

use super::file_map::FileMap;
use super::{TensorInfo, TensorSource, TensorView};
use crate::error::{ModelError, Result};

/// How the files of a folder are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileNames {
    pub(crate) single: &'static str,
    pub(crate) index: &'static str,
}

/// Hugging Face's.
pub(crate) const HUGGING_FACE: FileNames = FileNames {
    single: "model.safetensors",
    index: "model.safetensors.index.json",
};

/// Mistral's.
pub(crate) const CONSOLIDATED: FileNames = FileNames {
    single: "consolidated.safetensors",
    index: "consolidated.safetensors.index.json",
};

impl FileNames {
    /// Whether a folder has weights of these names.
    pub(crate) fn exist_in(self, folder: &Path) -> bool {
        folder.join(self.single).exists() || folder.join(self.index).exists()
    }
}

/// A tensor with any element type.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawTensor<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}

/// The weights of a folder in Hugging Face layout.
#[derive(Debug)]
pub(crate) struct SafetensorsSource {
    folder: PathBuf,
    shards: Vec<SafetensorsShard>,
    /// The shard that each tensor is in.
    locations: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct SafetensorsShard {
    map: FileMap,
    metadata: Metadata,
    /// Offset of the tensors' data in the file.
    data_start: usize,
}

/// The index of the shards; its other fields are of no use here.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsSource {
    /// Maps the weights of `folder`.
    pub(crate) fn open(folder: &Path, names: FileNames) -> Result<Self> {
        let mut source = Self {
            folder: folder.to_owned(),
            shards: Vec::new(),
            locations: BTreeMap::new(),
        };
        if folder.join(names.single).exists() {
            source.add_shard(names.single)?;
        } else if folder.join(names.index).exists() {
            source.add_indexed_shards(names.index)?;
        } else {
            return Err(invalid(
                folder,
                format!(
                    "there is neither {} nor {} in this folder",
                    names.single, names.index
                ),
            ));
        }
        Ok(source)
    }

    /// The tensor of that name, whatever its type.
    pub(super) fn raw(&self, name: &str) -> Result<Option<RawTensor<'_>>> {
        let Some(shard) = self.locations.get(name).map(|&shard| &self.shards[shard]) else {
            return Ok(None);
        };
        let Some(info) = shard.metadata.info(name) else {
            return Ok(None);
        };
        let (start, end) = info.data_offsets;
        let bytes = shard
            .map
            .get(shard.data_start..)
            .and_then(|data| data.get(start..end))
            .ok_or_else(|| invalid(&self.folder, format!("tensor {name} lies outside its file")))?;
        Ok(Some(RawTensor {
            dtype: info.dtype,
            shape: &info.shape,
            bytes,
        }))
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.locations.keys().map(String::as_str)
    }

    fn add_indexed_shards(&mut self, index: &str) -> Result<()> {
        let index_path = self.folder.join(index);
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
        let map = FileMap::open(&path)?;
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
        self.shards.push(SafetensorsShard {
            map,
            metadata,
            data_start: 8 + header_len,
        });
        Ok(())
    }
}

impl TensorSource for SafetensorsSource {
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(raw) = self.raw(name)? else {
            return Ok(None);
        };
        Ok(Some(TensorView {
            format: float_format(name, raw.dtype)?,
            shape: raw.shape.to_vec(),
            bytes: Cow::Borrowed(raw.bytes),
            packed_as: None,
        }))
    }

    fn path(&self) -> &Path {
        &self.folder
    }

    fn release(&self) {
        for shard in &self.shards {
            shard.map.release();
        }
    }

    fn total_bytes(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.metadata.data_len() as u64)
            .sum()
    }

    fn tensors(&self) -> Result<Vec<TensorInfo>> {
        let infos = self
            .shards
            .iter()
            .flat_map(|shard| shard.metadata.tensors());
        infos
            .map(|(name, info)| {
                Ok(TensorInfo {
                    format: float_format(&name, info.dtype)?,
                    shape: info.shape.clone(),
                    packed_as: None,
                    name,
                })
            })
            .collect()
    }
}

/// The kernels' format of a float type.
pub(super) fn float_format(name: &str, dtype: Dtype) -> Result<Format> {
    match dtype {
        Dtype::F32 => Ok(Format::F32),
        Dtype::F16 => Ok(Format::F16),
        Dtype::BF16 => Ok(Format::Bf16),
        other => Err(ModelError::UnsupportedTensorType {
            name: name.to_owned(),
            type_name: format!("{other:?}"),
        }),
    }
}

fn invalid(path: &Path, message: String) -> ModelError {
    ModelError::InvalidFile {
        path: path.to_owned(),
        message,
    }
}
