//! Packing matrices into other formats as they load, one at a time.
//!
//! The encoders are candle's; those of the simple formats give the bytes of GGUF's reference. Which
//! matrix gets which format follows llama.cpp's mixes (`llama_tensor_get_type`): the head is finer, and in
//! the `_m` mixes so are the values' projections and half of those that end the feed-forward part.

use std::num::NonZero;
use std::str::FromStr;
use std::thread;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use matou_kernels::{Format, dequantize};

use crate::config::ModelConfig;
use crate::weights::TensorView;

/// Weights that one task converts at a time, which bounds the memory between the formats.
const CHUNK: usize = 1 << 20;

/// A way to quantise a checkpoint, by the names that GGUF files are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    name: &'static str,
    /// Format of most matrices.
    main: Format,
    /// Format of the finer ones among the layers, where there are any.
    finer: Option<Format>,
    /// Format of the head.
    head: Format,
}

#[rustfmt::skip]
const QUANTIZATIONS: &[Quantization] = &[
    Quantization { name: "q2_k",   main: Format::Q2K,  finer: Some(Format::Q3K), head: Format::Q6K },
    Quantization { name: "q3_k_s", main: Format::Q3K,  finer: None,              head: Format::Q6K },
    Quantization { name: "q3_k_m", main: Format::Q3K,  finer: Some(Format::Q5K), head: Format::Q6K },
    Quantization { name: "q4_0",   main: Format::Q4_0, finer: None,              head: Format::Q6K },
    Quantization { name: "q4_1",   main: Format::Q4_1, finer: None,              head: Format::Q6K },
    Quantization { name: "q4_k_s", main: Format::Q4K,  finer: None,              head: Format::Q6K },
    Quantization { name: "q4_k_m", main: Format::Q4K,  finer: Some(Format::Q6K), head: Format::Q6K },
    Quantization { name: "q5_0",   main: Format::Q5_0, finer: None,              head: Format::Q6K },
    Quantization { name: "q5_1",   main: Format::Q5_1, finer: None,              head: Format::Q6K },
    Quantization { name: "q5_k_s", main: Format::Q5K,  finer: None,              head: Format::Q6K },
    Quantization { name: "q5_k_m", main: Format::Q5K,  finer: Some(Format::Q6K), head: Format::Q6K },
    Quantization { name: "q6_k",   main: Format::Q6K,  finer: None,              head: Format::Q6K },
    Quantization { name: "q8_0",   main: Format::Q8_0, finer: None,              head: Format::Q8_0 },
];

impl Quantization {
    /// The names of all, the coarsest first.
    pub fn names() -> impl DoubleEndedIterator<Item = &'static str> {
        QUANTIZATIONS.iter().map(|quantization| quantization.name)
    }

    /// The name of this one.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl FromStr for Quantization {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        let found = QUANTIZATIONS.iter().find(|known| known.name == lower);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::names().collect();
            format!(
                "{name:?} is no quantisation: use one of {}",
                names.join(", ")
            )
        })
    }
}

/// What the matrices of a model become.
#[derive(Debug, Clone)]
pub(crate) struct TargetFormats {
    /// Element type of what is not quantised; as stored if `None`.
    dense: Option<Format>,
    quantization: Option<Quantization>,
    layers: usize,
    /// The embedding is the head as well.
    tied: bool,
}

impl TargetFormats {
    /// `dense` is the element type of what is not quantised; as stored if `None`.
    pub(crate) fn new(
        dense: Option<Format>,
        quantization: Option<Quantization>,
        config: &ModelConfig,
    ) -> Self {
        Self {
            dense,
            quantization,
            layers: config.num_hidden_layers,
            tied: config.tie_word_embeddings,
        }
    }

    /// The format of a matrix that comes in `stored`, and that would be packed as `packed_as` unless
    /// told otherwise.
    pub(crate) fn format_of(
        &self,
        name: &str,
        stored: Format,
        packed_as: Option<Format>,
        columns: usize,
    ) -> Format {
        match packed_as {
            Some(format) if self.dense.is_none() && self.quantization.is_none() => {
                let fits = format.row_bytes(columns).is_some();
                if fits { format } else { Format::F16 }
            }
            _ => self.format(name, stored, columns),
        }
    }

    /// The format of a matrix that comes in `stored`, by its name in Hugging Face's or GGUF's
    /// spelling.
    fn format(&self, name: &str, stored: Format, columns: usize) -> Format {
        // What was quantised once is left as it is.
        if stored.block_size() > 1 {
            return stored;
        }
        let Some(quantization) = self.quantization.filter(|_| !is_router(name)) else {
            return self.dense.unwrap_or(stored);
        };
        let wanted = self.wanted(&quantization, name);
        let fitting = [wanted, stand_in(wanted)];
        let fits = |format: &&Format| format.row_bytes(columns).is_some();
        let fitting = fitting.iter().find(fits).copied();
        fitting.unwrap_or_else(|| self.dense.unwrap_or(stored))
    }

    fn wanted(&self, quantization: &Quantization, name: &str) -> Format {
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let is_embedding = has(&["embed_tokens", "token_embd", "tok_embeddings"]);
        let is_head = name.starts_with("lm_head") || name.starts_with("output.");
        if is_head || (is_embedding && self.tied) {
            return quantization.head;
        }
        let ends_part = has(&[
            "v_proj",
            "attn_v.",
            "attention.wv",
            "down_proj",
            "ffn_down",
            ".w2.",
        ]);
        match (quantization.finer, layer(name)) {
            (Some(finer), Some(layer)) if ends_part && self.is_finer(layer) => finer,
            _ => quantization.main,
        }
    }

    /// The first and the last eighth of the layers, and every third between.
    fn is_finer(&self, layer: usize) -> bool {
        let eighth = self.layers / 8;
        layer < eighth || layer >= 7 * self.layers / 8 || (layer - eighth) % 3 == 2
    }
}

/// The first number in a name.
fn layer(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// Routers are small, and their choices close.
fn is_router(name: &str) -> bool {
    ["moe.gate.", "feed_forward.gate.", "ffn_gate_inp."]
        .iter()
        .any(|part| name.contains(part))
}

/// The format of 32-wide blocks for rows that are no whole number of 256.
fn stand_in(format: Format) -> Format {
    match format {
        Format::Q2K | Format::Q3K => Format::Q4_0,
        Format::Q4K => Format::Q5_0,
        Format::Q5K => Format::Q5_1,
        Format::Q6K => Format::Q8_0,
        other => other,
    }
}

/// A matrix in another format, converted on all cores, a bounded number of weights at a time.
pub(crate) fn convert(view: &TensorView<'_>, format: Format) -> Result<Vec<u8>, String> {
    let columns = view.shape.last().copied().unwrap_or(0);
    let row_bytes = |format: Format| {
        let bytes = format.row_bytes(columns).filter(|&bytes| bytes > 0);
        bytes.ok_or_else(|| format!("rows of {columns} columns cannot be {format}"))
    };
    let (source_bytes, target_bytes) = (row_bytes(view.format)?, row_bytes(format)?);
    let rows = view.bytes.len() / source_bytes;
    let mut target = vec![0; rows * target_bytes];
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = rows.div_ceil(threads).max(1);
    let chunk = (CHUNK / columns).clamp(1, share);
    thread::scope(|scope| {
        let sources = view.bytes.chunks(share * source_bytes);
        let workers: Vec<_> = sources
            .zip(target.chunks_mut(share * target_bytes))
            .map(|(source, target)| {
                scope.spawn(move || -> Result<(), String> {
                    let parts = source.chunks(chunk * source_bytes);
                    for (source, target) in parts.zip(target.chunks_mut(chunk * target_bytes)) {
                        let mut values = vec![0.0; source.len() / source_bytes * columns];
                        dequantize(view.format, source, &mut values)
                            .map_err(|error| error.to_string())?;
                        encode(format, values, target)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| {
            worker
                .join()
                .map_err(|_| "the encoder panicked".to_owned())?
        });
        joined.collect::<Result<(), String>>()
    })?;
    Ok(target)
}

/// Writes `values` in `format`.
fn encode(format: Format, values: Vec<f32>, target: &mut [u8]) -> Result<(), String> {
    let quantized = match format {
        Format::F32 => {
            write_each(&values, target, f32::to_le_bytes);
            return Ok(());
        }
        Format::F16 => {
            write_each(&values, target, |x| f16::from_f32(x).to_le_bytes());
            return Ok(());
        }
        Format::Bf16 => {
            write_each(&values, target, |x| bf16::from_f32(x).to_le_bytes());
            return Ok(());
        }
        _ => candle_type(format).ok_or_else(|| format!("there is no encoder for {format}"))?,
    };
    let count = values.len();
    let bytes = Tensor::from_vec(values, (count,), &Device::Cpu)
        .and_then(|tensor| QTensor::quantize(&tensor, quantized))
        .map_err(|error| error.to_string())?;
    let bytes = bytes.data().map_err(|error| error.to_string())?;
    if bytes.len() != target.len() {
        return Err(format!(
            "{} bytes of {format} for {}",
            bytes.len(),
            target.len()
        ));
    }
    target.copy_from_slice(&bytes);
    Ok(())
}

fn write_each<const N: usize>(values: &[f32], target: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
    for (target, &value) in target.as_chunks_mut().0.iter_mut().zip(values) {
        *target = encode(value);
    }
}

/// candle's name of a quantised format, if it has that format.
pub(crate) fn candle_type(format: Format) -> Option<GgmlDType> {
    Some(match format {
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q5_1 => GgmlDType::Q5_1,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q2K => GgmlDType::Q2K,
        Format::Q3K => GgmlDType::Q3K,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q5K => GgmlDType::Q5K,
        Format::Q6K => GgmlDType::Q6K,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
