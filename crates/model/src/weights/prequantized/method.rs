//! How a checkpoint was quantised: `quantization_config` in its `config.json`.

use std::path::Path;

use half::f16;
use matou_kernels::Format;
use serde::Deserialize;
use serde_json::Value;

use super::super::TensorView;
use super::four_bit::{FourBit, Groups};
use super::module::{QuantizedModule, Words};
use crate::error::{ModelError, Result};

/// A method whose weights are spread over several tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// GPTQ: codes of eight inputs in a word.
    Gptq {
        /// The zero points in the file are one too small (all but the format `gptq_v2`).
        zeros_less_one: bool,
    },
    /// AWQ: codes of eight outputs in a word, interleaved.
    Awq,
    /// compressed-tensors, `pack-quantized`: rows of outputs, codes of eight inputs in a word.
    Packed,
}

/// The place in a word of each of AWQ's eight outputs.
const AWQ_PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
/// Weights in a word.
const PER_WORD: usize = 8;

/// `quantization_config`, of which each method fills other fields.
#[derive(Deserialize)]
struct RawQuantizationConfig {
    quant_method: Option<String>,
    bits: Option<u32>,
    w_bit: Option<u32>,
    checkpoint_format: Option<String>,
    version: Option<String>,
    format: Option<String>,
}

impl Method {
    /// What `config.json` at `path` says in `quantization_config`. `None` where nothing is
    /// quantised, or as FP8, which tensors tell by themselves.
    ///
    /// # Errors
    /// For methods that are not supported.
    pub(crate) fn from_config(path: &Path, config: &Value) -> Result<Option<Self>> {
        let field = &config["quantization_config"];
        let field = match field {
            Value::Null => &config["compression_config"],
            field => field,
        };
        if field.is_null() {
            return Ok(None);
        }
        let refused = |message: String| ModelError::InvalidConfig {
            path: path.to_owned(),
            field: "quantization_config".to_owned(),
            message,
        };
        let raw: RawQuantizationConfig =
            serde_json::from_value(field.clone()).map_err(|error| refused(error.to_string()))?;
        let bits = raw.bits.or(raw.w_bit).unwrap_or(4);
        let method = raw.quant_method.as_deref().unwrap_or_default();
        let known = match method {
            "gptq" | "awq" if bits != 4 => {
                return Err(refused(format!(
                    "is {method} of {bits} bits; 4 are supported"
                )));
            }
            "gptq" => Some(Self::Gptq {
                zeros_less_one: raw.checkpoint_format.as_deref() != Some("gptq_v2"),
            }),
            "awq" => match raw.version.as_deref() {
                None | Some("gemm" | "GEMM") => Some(Self::Awq),
                Some(other) => {
                    return Err(refused(format!(
                        "is awq of version {other:?}; gemm is supported"
                    )));
                }
            },
            "fp8" => None,
            "compressed-tensors" => match raw.format.as_deref() {
                Some("pack-quantized") => Some(Self::Packed),
                Some("float-quantized" | "naive-quantized") | None => None,
                Some(other) => {
                    return Err(refused(format!(
                        "is compressed-tensors of format {other:?}; pack-quantized and float-quantized are supported"
                    )));
                }
            },
            other => {
                return Err(refused(format!(
                    "has quant_method {other:?}; supported: gptq, awq, fp8, compressed-tensors"
                )));
            }
        };
        Ok(known)
    }

    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gptq { .. } => "GPTQ",
            Self::Awq => "AWQ",
            Self::Packed => "compressed-tensors",
        }
    }

    /// Whether a tensor of this last name is part of a quantised matrix.
    pub(super) fn has_part(&self, part: &str) -> bool {
        match self {
            Self::Gptq { .. } | Self::Awq => {
                ["qweight", "qzeros", "scales", "g_idx"].contains(&part)
            }
            Self::Packed => [
                "weight_packed",
                "weight_scale",
                "weight_zero_point",
                "weight_shape",
                "weight_g_idx",
            ]
            .contains(&part),
        }
    }

    /// Shape and format of the matrix, told at its codes; the other parts are nothing of their own.
    pub(super) fn describe(
        &self,
        module: &QuantizedModule<'_>,
        part: &str,
    ) -> Result<Option<([usize; 2], Format)>> {
        Ok(match (self, part) {
            (Self::Gptq { .. }, "qweight") => {
                let codes = module.words("qweight")?;
                Some(([codes.columns, codes.rows * PER_WORD], Format::Q5_0))
            }
            (Self::Awq, "qweight") => {
                let codes = module.words("qweight")?;
                Some(([codes.columns * PER_WORD, codes.rows], Format::Q5_0))
            }
            (Self::Packed, "weight_packed") => {
                let codes = module.words("weight_packed")?;
                Some(([codes.rows, codes.columns * PER_WORD], Format::Q4_0))
            }
            _ => None,
        })
    }

    /// The matrix of a module; `None` if it is not quantised.
    pub(super) fn unpack(
        &self,
        module: &QuantizedModule<'_>,
    ) -> Result<Option<TensorView<'static>>> {
        match self {
            Self::Gptq { zeros_less_one } => gptq(module, u8::from(*zeros_less_one)),
            Self::Awq => awq(module),
            Self::Packed => packed(module),
        }
    }
}

/// Scales of a matrix, as half-precision numbers.
struct Scales {
    values: Vec<f16>,
    rows: usize,
    columns: usize,
}

impl Scales {
    fn read(module: &QuantizedModule<'_>, part: &str) -> Result<Self> {
        match module.floats(part)? {
            Some((values, &[rows, columns])) => Ok(Self {
                values: values.into_iter().map(f16::from_f32).collect(),
                rows,
                columns,
            }),
            Some((_, shape)) => Err(module.invalid(format!("{part} has shape {shape:?}"))),
            None => Err(module.invalid(format!("{part} is missing"))),
        }
    }

    fn at(&self, row: usize, column: usize) -> f16 {
        self.values[row * self.columns + column]
    }
}

/// Inputs of each of `groups` groups.
fn group_size(module: &QuantizedModule<'_>, inputs: usize, groups: usize) -> Result<usize> {
    match inputs.checked_div(groups) {
        Some(size) if size > 0 && size * groups == inputs => Ok(size),
        _ => Err(module.invalid(format!("{groups} groups of {inputs} inputs"))),
    }
}

/// Refuses parts that do not fit each other.
fn check(module: &QuantizedModule<'_>, fits: bool, what: &str) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(module.invalid(format!("the shapes of {what} do not fit each other")))
}

/// `qweight [inputs / 8, outputs]`, `qzeros [groups, outputs / 8]`, `scales [groups, outputs]`, and
/// perhaps `g_idx [inputs]`.
fn gptq(module: &QuantizedModule<'_>, less: u8) -> Result<Option<TensorView<'static>>> {
    if module.part("qweight")?.is_none() {
        return Ok(None);
    }
    let (codes, zeros) = (module.words("qweight")?, module.words("qzeros")?);
    let scales = Scales::read(module, "scales")?;
    let (inputs, outputs) = (codes.rows * PER_WORD, codes.columns);
    let fits = (scales.columns, zeros.columns) == (outputs, outputs / PER_WORD)
        && scales.rows == zeros.rows
        && outputs.is_multiple_of(PER_WORD);
    check(module, fits, "qweight, qzeros and scales")?;
    let size = group_size(module, inputs, scales.rows)?;
    let groups = match listed_groups(module, inputs, scales.rows)? {
        Some(groups) if groups.iter().enumerate().any(|(i, &g)| g != i / size) => {
            Groups::Listed(groups)
        }
        _ => Groups::InOrder(size),
    };
    Ok(Some(
        FourBit {
            inputs,
            outputs,
            groups,
            code: |i: usize, o| codes.nibble(i / PER_WORD, o, i % PER_WORD),
            zero: |g, o: usize| zeros.nibble(g, o / PER_WORD, o % PER_WORD) + less,
            scale: |g, o| scales.at(g, o),
        }
        .pack(),
    ))
}

/// `g_idx`, whose entries must be groups.
fn listed_groups(
    module: &QuantizedModule<'_>,
    inputs: usize,
    groups: usize,
) -> Result<Option<Vec<usize>>> {
    let Some(raw) = module.part("g_idx")? else {
        return Ok(None);
    };
    check(module, raw.shape == [inputs], "qweight and g_idx")?;
    let list = Words {
        rows: 1,
        columns: raw.bytes.len() / 4,
        bytes: raw.bytes,
    };
    check(module, list.columns == inputs, "qweight and g_idx")?;
    let listed: Vec<usize> = (0..inputs).map(|i| list.at(0, i) as usize).collect();
    check(
        module,
        listed.iter().all(|&g| g < groups),
        "g_idx and scales",
    )?;
    Ok(Some(listed))
}

/// `qweight [inputs, outputs / 8]`, `qzeros [groups, outputs / 8]`, `scales [groups, outputs]`.
fn awq(module: &QuantizedModule<'_>) -> Result<Option<TensorView<'static>>> {
    if module.part("qweight")?.is_none() {
        return Ok(None);
    }
    let (codes, zeros) = (module.words("qweight")?, module.words("qzeros")?);
    let scales = Scales::read(module, "scales")?;
    let (inputs, outputs) = (codes.rows, codes.columns * PER_WORD);
    let fits =
        (scales.columns, zeros.columns) == (outputs, codes.columns) && scales.rows == zeros.rows;
    check(module, fits, "qweight, qzeros and scales")?;
    let nibble = |words: &Words<'_>, row: usize, o: usize| {
        words.nibble(row, o / PER_WORD, AWQ_PLACES[o % PER_WORD])
    };
    Ok(Some(
        FourBit {
            inputs,
            outputs,
            groups: Groups::InOrder(group_size(module, inputs, scales.rows)?),
            code: |i, o| nibble(&codes, i, o),
            zero: |g, o| nibble(&zeros, g, o),
            scale: |g, o| scales.at(g, o),
        }
        .pack(),
    ))
}

/// `weight_packed [outputs, inputs / 8]`, `weight_scale [outputs, groups]`, and perhaps
/// `weight_zero_point [outputs / 8, groups]`.
fn packed(module: &QuantizedModule<'_>) -> Result<Option<TensorView<'static>>> {
    if module.part("weight_packed")?.is_none() {
        return Ok(None);
    }
    let codes = module.words("weight_packed")?;
    let scales = Scales::read(module, "weight_scale")?;
    let (inputs, outputs) = (codes.columns * PER_WORD, codes.rows);
    check(
        module,
        scales.rows == outputs,
        "weight_packed and weight_scale",
    )?;
    let zeros = match module.part("weight_zero_point")? {
        Some(_) => Some(module.words("weight_zero_point")?),
        None => None,
    };
    if let Some(zeros) = &zeros {
        let fits = (zeros.rows, zeros.columns) == (outputs.div_ceil(PER_WORD), scales.columns);
        check(module, fits, "weight_zero_point and weight_scale")?;
    }
    let size = group_size(module, inputs, scales.columns)?;
    let groups = match module.part("weight_g_idx")? {
        Some(_) => {
            return Err(
                module.invalid("groups in the order of activations are not supported".into())
            );
        }
        None => Groups::InOrder(size),
    };
    Ok(Some(
        FourBit {
            inputs,
            outputs,
            groups,
            code: |i: usize, o| codes.nibble(o, i / PER_WORD, i % PER_WORD),
            zero: |g, o: usize| match &zeros {
                Some(zeros) => zeros.nibble(o / PER_WORD, g, o % PER_WORD),
                None => 8,
            },
            scale: |g, o| scales.at(o, g),
        }
        .pack(),
    ))
}
