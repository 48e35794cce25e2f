//! GGUF files, versions 2 and 3, little-endian, whole or split, mapped into memory.
//!
//! ```text
//! ┌ "GGUF" ┬ version ┬ tensor count ┬ metadata count ┐
//! ├ metadata: key, value type, value … ──────────────┤
//! ├ tensors: name, dimensions, type, offset … ───────┤
//! ├ padding up to `general.alignment` ───────────────┤
//! └ data: each tensor at its offset from here ───────┘
//! ```
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Files come from
//! anywhere, so nothing in them is believed: counts are bounded by the bytes that are left, offsets
//! by the end of the file, products are checked for overflow, and all of it happens before the
//! first tensor is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use matou_kernels::Format;

use super::bytes::ByteReader;
use super::file_map::FileMap;
use super::ggml_type::GgmlType;
use super::gguf_value::GgufMetadata;
use crate::error::{ModelError, Result};

/// Most dimensions a tensor has, by the format.
const MAX_DIMENSIONS: usize = 4;
/// Alignment of the data where `general.alignment` says nothing else.
const DEFAULT_ALIGNMENT: usize = 32;
/// Fewest bytes of a metadata entry: an empty key, a type, one byte of value.
const MIN_METADATA_BYTES: usize = 8 + 4 + 1;
/// Fewest bytes of a tensor's entry: an empty name, no dimensions, type and offset.
const MIN_TENSOR_BYTES: usize = 8 + 4 + 4 + 8;

/// A mapped GGUF file, together with its other shards.
#[derive(Debug)]
pub struct GgufFile {
    metadata: GgufMetadata,
    tensors: BTreeMap<String, GgufTensor>,
    /// In the shards' order; never empty.
    shards: Vec<GgufShard>,
}

#[derive(Debug)]
struct GgufShard {
    path: PathBuf,
    map: FileMap,
}

/// A tensor's entry in the file.
#[derive(Debug, Clone)]
pub struct GgufTensor {
    shape: Vec<usize>,
    ggml_type: GgmlType,
    shard: usize,
    /// Offset of the data in the shard.
    start: usize,
}

impl GgufTensor {
    /// Dimensions, slowest first: `[rows, columns]` of a matrix. (The file has them reversed.)
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Name of the element type, such as `Q4_K`.
    pub fn type_name(&self) -> String {
        self.ggml_type.name()
    }
}

impl GgufFile {
    /// Maps a file and reads everything but the tensors' data. If the file is the first shard of
    /// several (`…-00001-of-0000N.gguf`), the others are mapped too.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is no GGUF file of a supported version, contradicts itself, or
    /// is one of several shards of which another one is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = Self {
            metadata: GgufMetadata::default(),
            tensors: BTreeMap::new(),
            shards: Vec::new(),
        };
        for shard in shard_paths(path)? {
            file.add_shard(&shard)?;
        }
        Ok(file)
    }

    /// The metadata; that of the first shard, where there are several.
    pub fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// Lets go of the memory that reading tensors took; they can be read again.
    pub(super) fn release(&self) {
        for shard in &self.shards {
            shard.map.release();
        }
    }

    /// The tensors of all shards by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &GgufTensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The entry of one tensor.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.get(name)
    }

    /// The file that was opened (the first shard).
    pub fn path(&self) -> &Path {
        &self.shards[0].path
    }

    /// Format and data of the tensor `name`, which must be one of this file's.
    pub(crate) fn data(&self, name: &str, tensor: &GgufTensor) -> Result<(Format, &[u8])> {
        let format =
            tensor
                .ggml_type
                .format()
                .ok_or_else(|| ModelError::UnsupportedTensorType {
                    name: name.to_owned(),
                    type_name: tensor.type_name(),
                })?;
        let shard = &self.shards[tensor.shard];
        let data = byte_len(&tensor.shape, format)
            .and_then(|len| shard.map.get(tensor.start..tensor.start.checked_add(len)?))
            .ok_or_else(|| ModelError::InvalidFile {
                path: shard.path.clone(),
                message: format!(
                    "tensor {name} of shape {:?} and type {} at offset {} is not made of whole blocks, or reaches beyond the end of the file ({})",
                    tensor.shape,
                    format.name(),
                    tensor.start,
                    shard.map.len()
                ),
            })?;
        Ok((format, data))
    }

    fn add_shard(&mut self, path: &Path) -> Result<()> {
        let map = FileMap::open(path)?;
        let shard = self.shards.len();
        let mut reader = ByteReader::new(path, &map);
        let (tensor_count, metadata_count) = read_header(&mut reader)?;
        let metadata = GgufMetadata::read(&mut reader, metadata_count)?;
        let alignment = alignment(&reader, &metadata)?;
        let mut entries = Vec::with_capacity(tensor_count);
        for _ in 0..tensor_count {
            entries.push(read_tensor(&mut reader, shard)?);
        }
        let data_start = reader.position().next_multiple_of(alignment);
        for (name, mut tensor) in entries {
            tensor.start = tensor
                .start
                .checked_add(data_start)
                .filter(|start| *start <= map.len() && start.is_multiple_of(alignment))
                .ok_or_else(|| {
                    reader.error(format!(
                        "tensor {name} has offset {} from the data at {data_start}, which is not a multiple of {alignment} inside the file ({} bytes)",
                        tensor.start,
                        map.len()
                    ))
                })?;
            if self.tensors.insert(name.clone(), tensor).is_some() {
                return Err(reader.error(format!("tensor {name} occurs twice")));
            }
        }
        if shard == 0 {
            self.metadata = metadata;
        }
        self.shards.push(GgufShard {
            path: path.to_owned(),
            map,
        });
        // Now that the shard is in place, ask for each tensor's data: what does not fit is found
        // here and not in the middle of loading. Types without a kernel may stay unread.
        for (name, tensor) in self.tensors().filter(|(_, tensor)| tensor.shard == shard) {
            match self.data(name, tensor) {
                Ok(_) | Err(ModelError::UnsupportedTensorType { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads the fixed part: counts of tensors and of metadata entries.
fn read_header(reader: &mut ByteReader<'_>) -> Result<(usize, usize)> {
    let magic = reader.take(4, "the magic number")?;
    if magic != b"GGUF" {
        return Err(reader.error(format!("not a GGUF file: it begins with {magic:02x?}")));
    }
    match reader.u32("the version")? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => {
            return Err(
                reader.error("a big-endian GGUF file; only little-endian ones are supported")
            );
        }
        version => {
            return Err(reader.error(format!(
                "GGUF version {version} is not supported (2 and 3 are)"
            )));
        }
    }
    let tensors = reader.count(MIN_TENSOR_BYTES, "the tensor count")?;
    let metadata = reader.count(MIN_METADATA_BYTES, "the metadata count")?;
    Ok((tensors, metadata))
}

fn alignment(reader: &ByteReader<'_>, metadata: &GgufMetadata) -> Result<usize> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    value
        .as_u64()
        .and_then(|stated| usize::try_from(stated).ok())
        .filter(|stated| stated.is_power_of_two() && (8..=1 << 20).contains(stated))
        .ok_or_else(|| {
            reader.error(format!(
                "metadata key general.alignment is {value:?}, not a power of two from 8 to 2^20"
            ))
        })
}

/// Reads one tensor's entry; its `start` is still relative to the data.
fn read_tensor(reader: &mut ByteReader<'_>, shard: usize) -> Result<(String, GgufTensor)> {
    let name = reader.name("tensor name")?.to_owned();
    let dimensions = reader.u32(&name)? as usize;
    if dimensions > MAX_DIMENSIONS {
        return Err(reader.error(format!(
            "tensor {name} has {dimensions} dimensions, more than {MAX_DIMENSIONS}"
        )));
    }
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        let size = reader.u64(&name)?;
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        shape.push(size.ok_or_else(|| {
            reader.error(format!("tensor {name} has a dimension of impossible size"))
        })?);
    }
    shape.reverse();
    if shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
        .is_none()
    {
        return Err(reader.error(format!("tensor {name} of shape {shape:?} is too large")));
    }
    let ggml_type = GgmlType(reader.u32(&name)?);
    let offset = reader.u64(&name)?;
    let start = usize::try_from(offset)
        .map_err(|_| reader.error(format!("tensor {name} has offset {offset}")))?;
    let tensor = GgufTensor {
        shape,
        ggml_type,
        shard,
        start,
    };
    Ok((name, tensor))
}

/// Bytes that a tensor takes, if its rows are whole blocks and the product does not overflow.
fn byte_len(shape: &[usize], format: Format) -> Option<usize> {
    let (&columns, rows) = shape.split_last().unwrap_or((&1, &[]));
    let row_bytes = format.row_bytes(columns)?;
    rows.iter()
        .try_fold(row_bytes, |n, &size| n.checked_mul(size))
}

/// The file itself, or all shards if it is the first of several.
fn shard_paths(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let Some((prefix, number, total)) = parse_shard_name(name) else {
        return Ok(vec![path.to_owned()]);
    };
    let shard =
        |number: usize| path.with_file_name(format!("{prefix}-{number:05}-of-{total:05}.gguf"));
    let invalid = |message| ModelError::InvalidFile {
        path: path.to_owned(),
        message,
    };
    if number != 1 {
        let first = shard(1);
        return Err(invalid(format!(
            "shard {number} of {total}; open the first one, {}",
            first.display()
        )));
    }
    let shards: Vec<PathBuf> = (1..=total).map(shard).collect();
    let missing: Vec<String> = shards
        .iter()
        .filter(|shard| !shard.exists())
        .filter_map(|shard| Some(shard.file_name()?.to_string_lossy().into_owned()))
        .collect();
    if missing.is_empty() {
        return Ok(shards);
    }
    Err(invalid(format!(
        "{} of {total} shards are missing beside it: {}",
        missing.len(),
        missing.join(", ")
    )))
}

/// Splits `prefix-00002-of-00005.gguf` into `("prefix", 2, 5)`.
fn parse_shard_name(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let parse = |digits: &str| {
        let numeric = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        numeric.then(|| digits.parse().ok()).flatten()
    };
    let (number, total) = (parse(number)?, parse(total)?);
    (1..=total)
        .contains(&number)
        .then_some((prefix, number, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_taken_apart() {
        assert_eq!(
            parse_shard_name("m-q4-00002-of-00005.gguf"),
            Some(("m-q4", 2, 5))
        );
        for other in [
            "m.gguf",
            "m-2-of-5.gguf",
            "m-0000a-of-00005.gguf",
            "m-00001-of-00000.gguf",
            "m-00001-of-00002.bin",
        ] {
            assert_eq!(parse_shard_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_byte_length_that_overflows_is_none() {
        assert_eq!(byte_len(&[4, 64], Format::F32), Some(1024));
        assert_eq!(byte_len(&[usize::MAX / 2, 64], Format::F32), None);
        assert_eq!(byte_len(&[4, 63], Format::Q8_0), None);
    }
}
