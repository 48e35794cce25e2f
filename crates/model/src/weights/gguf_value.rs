//! Metadata values of a GGUF file, with lookups that convert where nothing is lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::bytes::ByteReader;
use crate::error::Result;

/// More elements than any vocabulary has; a longer array is a corrupt length.
const MAX_ARRAY_LEN: usize = 1 << 24;

/// A metadata value. The format's eight integer and two float widths become one each, since no
/// reader cares which of them a writer picked.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// `UINT8` to `UINT64`.
    Unsigned(u64),
    /// `INT8` to `INT64`.
    Signed(i64),
    /// `FLOAT32` and `FLOAT64`.
    Float(f64),
    /// `BOOL`.
    Bool(bool),
    /// `STRING`; what is not UTF-8 in it is replaced.
    String(String),
    /// `ARRAY` of one of the above.
    Array(GgufArray),
}

/// A metadata array: elements of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufArray {
    /// `UINT8` to `UINT64`.
    Unsigned(Vec<u64>),
    /// `INT8` to `INT64`.
    Signed(Vec<i64>),
    /// `FLOAT32` and `FLOAT64`.
    Float(Vec<f64>),
    /// `BOOL`.
    Bool(Vec<bool>),
    /// `STRING`.
    String(Vec<String>),
}

impl GgufArray {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Unsigned(values) => values.len(),
            Self::Signed(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::String(values) => values.len(),
        }
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl GgufValue {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A non-negative integer of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// A float, or an integer as one.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(value),
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::Array(GgufArray::String(values)) => Some(values),
            _ => None,
        }
    }

    /// An array of non-negative integers of any width.
    pub fn to_u64s(&self) -> Option<Vec<u64>> {
        match self {
            Self::Array(GgufArray::Unsigned(values)) => Some(values.clone()),
            Self::Array(GgufArray::Signed(values)) => {
                values.iter().map(|&v| u64::try_from(v).ok()).collect()
            }
            _ => None,
        }
    }

    /// An array of integers of any width.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        match self {
            Self::Array(GgufArray::Signed(values)) => Some(values.clone()),
            Self::Array(GgufArray::Unsigned(values)) => {
                values.iter().map(|&v| i64::try_from(v).ok()).collect()
            }
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Unsigned(value) => (*value).into(),
            Self::Signed(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Bool(value) => (*value).into(),
            Self::String(text) => text.as_str().into(),
            Self::Array(GgufArray::Unsigned(values)) => values.as_slice().into(),
            Self::Array(GgufArray::Signed(values)) => values.as_slice().into(),
            Self::Array(GgufArray::Float(values)) => values.as_slice().into(),
            Self::Array(GgufArray::Bool(values)) => values.as_slice().into(),
            Self::Array(GgufArray::String(values)) => values.as_slice().into(),
        }
    }

    /// An array of floats.
    pub fn as_f64s(&self) -> Option<&[f64]> {
        match self {
            Self::Array(GgufArray::Float(values)) => Some(values),
            _ => None,
        }
    }
}

/// The metadata of a GGUF file, by key, in the keys' order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufMetadata(BTreeMap<String, GgufValue>);

impl GgufMetadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.0.get(key)
    }

    /// All keys with their values, in the keys' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GgufValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The entries whose keys begin with `prefix`, as JSON: for readers that need not know this
    /// format. Floats that JSON has no number for are `null`.
    pub fn to_json(&self, prefix: &str) -> Map<String, Value> {
        let entries = self.0.range(prefix.to_owned()..);
        let entries = entries.take_while(|(key, _)| key.starts_with(prefix));
        entries
            .map(|(key, value)| (key.clone(), value.to_json()))
            .collect()
    }

    /// Reads `count` key-value pairs.
    pub(super) fn read(reader: &mut ByteReader<'_>, count: usize) -> Result<Self> {
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = reader.name("metadata key")?.to_owned();
            let value = read_value(reader, &key)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(reader.error(format!("metadata key {key} occurs twice")));
            }
        }
        Ok(Self(values))
    }
}

/// Element types by their number in the file.
#[derive(Clone, Copy)]
enum ValueType {
    Unsigned { bytes: usize },
    Signed { bytes: usize },
    Float { bytes: usize },
    Bool,
    String,
    Array,
}

impl ValueType {
    fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::Unsigned { bytes: 1 },
            1 => Self::Signed { bytes: 1 },
            2 => Self::Unsigned { bytes: 2 },
            3 => Self::Signed { bytes: 2 },
            4 => Self::Unsigned { bytes: 4 },
            5 => Self::Signed { bytes: 4 },
            6 => Self::Float { bytes: 4 },
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::Unsigned { bytes: 8 },
            11 => Self::Signed { bytes: 8 },
            12 => Self::Float { bytes: 8 },
            _ => return None,
        })
    }

    /// Bytes that one element takes at least.
    fn min_bytes(self) -> usize {
        match self {
            Self::Unsigned { bytes } | Self::Signed { bytes } | Self::Float { bytes } => bytes,
            Self::Bool => 1,
            Self::String => 8,
            Self::Array => 12,
        }
    }
}

fn read_type(reader: &mut ByteReader<'_>, key: &str) -> Result<ValueType> {
    let offset = reader.position();
    let id = reader.u32("metadata value type")?;
    ValueType::from_id(id).ok_or_else(|| {
        reader.error(format!(
            "metadata key {key} has unknown value type {id} at offset {offset}"
        ))
    })
}

fn read_value(reader: &mut ByteReader<'_>, key: &str) -> Result<GgufValue> {
    Ok(match read_type(reader, key)? {
        ValueType::Unsigned { bytes } => GgufValue::Unsigned(read_unsigned(reader, bytes, key)?),
        ValueType::Signed { bytes } => GgufValue::Signed(read_signed(reader, bytes, key)?),
        ValueType::Float { bytes } => GgufValue::Float(read_float(reader, bytes, key)?),
        ValueType::Bool => GgufValue::Bool(read_bool(reader, key)?),
        ValueType::String => GgufValue::String(read_string(reader, key)?),
        ValueType::Array => GgufValue::Array(read_array(reader, key)?),
    })
}

fn read_array(reader: &mut ByteReader<'_>, key: &str) -> Result<GgufArray> {
    let element = read_type(reader, key)?;
    let len = reader.count(element.min_bytes(), key)?;
    if len > MAX_ARRAY_LEN {
        return Err(reader.error(format!(
            "metadata key {key} is an array of {len} elements; more than {MAX_ARRAY_LEN} is not supported"
        )));
    }
    Ok(match element {
        ValueType::Unsigned { bytes } => {
            GgufArray::Unsigned(collect(len, || read_unsigned(reader, bytes, key))?)
        }
        ValueType::Signed { bytes } => {
            GgufArray::Signed(collect(len, || read_signed(reader, bytes, key))?)
        }
        ValueType::Float { bytes } => {
            GgufArray::Float(collect(len, || read_float(reader, bytes, key))?)
        }
        ValueType::Bool => GgufArray::Bool(collect(len, || read_bool(reader, key))?),
        ValueType::String => GgufArray::String(collect(len, || read_string(reader, key))?),
        ValueType::Array => {
            return Err(reader.error(format!(
                "metadata key {key} is an array of arrays, which is not supported"
            )));
        }
    })
}

fn collect<T>(len: usize, read: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    std::iter::repeat_with(read).take(len).collect()
}

fn read_unsigned(reader: &mut ByteReader<'_>, bytes: usize, key: &str) -> Result<u64> {
    let mut wide = [0; 8];
    wide[..bytes].copy_from_slice(reader.take(bytes, key)?);
    Ok(u64::from_le_bytes(wide))
}

fn read_signed(reader: &mut ByteReader<'_>, bytes: usize, key: &str) -> Result<i64> {
    // Shifting the sign bit to the top and back extends it.
    let unused_bits = 64 - 8 * bytes as u32;
    let value = read_unsigned(reader, bytes, key)? << unused_bits;
    Ok((value as i64) >> unused_bits)
}

fn read_float(reader: &mut ByteReader<'_>, bytes: usize, key: &str) -> Result<f64> {
    Ok(match bytes {
        4 => f32::from_bits(reader.u32(key)?).into(),
        _ => f64::from_bits(reader.u64(key)?),
    })
}

fn read_bool(reader: &mut ByteReader<'_>, key: &str) -> Result<bool> {
    let offset = reader.position();
    match reader.take(1, key)? {
        [0] => Ok(false),
        [1] => Ok(true),
        other => Err(reader.error(format!(
            "metadata key {key} is a boolean of value {} at offset {offset}",
            other[0]
        ))),
    }
}

fn read_string(reader: &mut ByteReader<'_>, key: &str) -> Result<String> {
    // Replacing is right here: a description or a token with broken bytes must not keep a model
    // from loading.
    Ok(String::from_utf8_lossy(reader.string(key)?).into_owned())
}
