//! Weights that are made up: models of real shapes, to judge a machine before anything is downloaded.
//!
//! They compute as long as real ones, and say nothing sensible.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use matou_kernels::Format;

use super::{TensorInfo, TensorSource, TensorView};
use crate::config::{ModelConfig, RopeParameters};
use crate::error::{ModelError, Result};
use crate::quantize::{Quantization, TargetFormats, convert};

/// Rows that are drawn and quantised; larger matrices repeat them.
const ROWS: usize = 64;
/// Standard deviation of the weights, which is that of Llama's initialisation.
const DEVIATION: f32 = 0.02;

/// The shape of a published model, and the format of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    published: &'static Published,
    format: ShapeFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShapeFormat {
    Quantized(Quantization),
    Dense(Format),
}

/// Sizes of a published model, as its `config.json` has them.
#[derive(Debug, PartialEq, Eq)]
struct Published {
    name: &'static str,
    architecture: &'static str,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    context: usize,
    theta: u32,
    tied: bool,
    /// Experts in all, and those that a token goes through.
    experts: (usize, usize),
}

#[rustfmt::skip]
const PUBLISHED: &[Published] = &[
    Published { name: "llama-3.2-1b", architecture: "LlamaForCausalLM", vocab_size: 128_256, hidden_size: 2048, intermediate_size: 8192,
        layers: 16, heads: 32, kv_heads: 8, head_dim: 64, context: 131_072, theta: 500_000, tied: true, experts: (0, 0) },
    Published { name: "llama-3.2-3b", architecture: "LlamaForCausalLM", vocab_size: 128_256, hidden_size: 3072, intermediate_size: 8192,
        layers: 28, heads: 24, kv_heads: 8, head_dim: 128, context: 131_072, theta: 500_000, tied: true, experts: (0, 0) },
    Published { name: "llama-3.1-8b", architecture: "LlamaForCausalLM", vocab_size: 128_256, hidden_size: 4096, intermediate_size: 14_336,
        layers: 32, heads: 32, kv_heads: 8, head_dim: 128, context: 131_072, theta: 500_000, tied: false, experts: (0, 0) },
    Published { name: "mistral-7b", architecture: "MistralForCausalLM", vocab_size: 32_768, hidden_size: 4096, intermediate_size: 14_336,
        layers: 32, heads: 32, kv_heads: 8, head_dim: 128, context: 32_768, theta: 1_000_000, tied: false, experts: (0, 0) },
    Published { name: "mistral-small-24b", architecture: "MistralForCausalLM", vocab_size: 131_072, hidden_size: 5120, intermediate_size: 32_768,
        layers: 40, heads: 32, kv_heads: 8, head_dim: 128, context: 32_768, theta: 100_000_000, tied: false, experts: (0, 0) },
    Published { name: "mixtral-8x7b", architecture: "MixtralForCausalLM", vocab_size: 32_000, hidden_size: 4096, intermediate_size: 14_336,
        layers: 32, heads: 32, kv_heads: 8, head_dim: 128, context: 32_768, theta: 1_000_000, tied: false, experts: (8, 2) },
];

impl Shape {
    /// The names of all, the smallest first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PUBLISHED.iter().map(|published| published.name)
    }

    /// What the weights' format is called.
    pub fn format_name(&self) -> String {
        match self.format {
            ShapeFormat::Quantized(quantization) => quantization.name().to_ascii_uppercase(),
            ShapeFormat::Dense(format) => format.name().to_owned(),
        }
    }

    /// What the config of such a model says.
    pub(crate) fn config(&self) -> ModelConfig {
        let published = self.published;
        let rope = RopeParameters {
            theta: f64::from(published.theta),
            partial_rotary_factor: 1.0,
            ..RopeParameters::default()
        };
        ModelConfig {
            architecture: published.architecture.to_owned(),
            vocab_size: published.vocab_size,
            hidden_size: published.hidden_size,
            intermediate_size: published.intermediate_size,
            num_hidden_layers: published.layers,
            num_attention_heads: published.heads,
            num_key_value_heads: published.kv_heads,
            head_dim: published.head_dim,
            max_position_embeddings: published.context,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: published.tied,
            hidden_act: "silu".to_owned(),
            rope,
            num_local_experts: published.experts.0,
            num_experts_per_tok: published.experts.1,
            ..ModelConfig::default()
        }
    }

    /// Rows and columns of a matrix, or the length of a vector; `None` if the model has no such tensor.
    fn dimensions(&self, name: &str) -> Option<Vec<usize>> {
        let p = self.published;
        let (hidden, wide) = (p.hidden_size, p.intermediate_size);
        let (queries, keys) = (p.heads * p.head_dim, p.kv_heads * p.head_dim);
        let (experts, _) = p.experts;
        let dimensions = match name {
            "model.embed_tokens.weight" => vec![p.vocab_size, hidden],
            "lm_head.weight" if !p.tied => vec![p.vocab_size, hidden],
            "model.norm.weight" => vec![hidden],
            _ => {
                let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
                (layer.parse::<usize>().ok()? < p.layers).then_some(())?;
                match rest {
                    "input_layernorm.weight" | "post_attention_layernorm.weight" => vec![hidden],
                    "self_attn.q_proj.weight" => vec![queries, hidden],
                    "self_attn.k_proj.weight" | "self_attn.v_proj.weight" => vec![keys, hidden],
                    "self_attn.o_proj.weight" => vec![hidden, queries],
                    "mlp.gate_proj.weight" | "mlp.up_proj.weight" if experts == 0 => {
                        vec![wide, hidden]
                    }
                    "mlp.down_proj.weight" if experts == 0 => vec![hidden, wide],
                    "block_sparse_moe.gate.weight" if experts > 0 => vec![experts, hidden],
                    _ => {
                        let rest = rest.strip_prefix("block_sparse_moe.experts.")?;
                        let (expert, matrix) = rest.split_once('.')?;
                        (expert.parse::<usize>().ok()? < experts).then_some(())?;
                        match matrix {
                            "w1.weight" | "w3.weight" => vec![wide, hidden],
                            "w2.weight" => vec![hidden, wide],
                            _ => return None,
                        }
                    }
                }
            }
        };
        Some(dimensions)
    }

    /// The names of all tensors.
    fn tensors(&self) -> Vec<String> {
        let p = self.published;
        let mut names = vec![
            "model.embed_tokens.weight".to_owned(),
            "lm_head.weight".to_owned(),
            "model.norm.weight".to_owned(),
        ];
        let mut modules: Vec<String> = [
            "input_layernorm",
            "post_attention_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
            "block_sparse_moe.gate",
        ]
        .map(str::to_owned)
        .to_vec();
        for expert in 0..p.experts.0 {
            modules.extend(
                ["w1", "w2", "w3"].map(|w| format!("block_sparse_moe.experts.{expert}.{w}")),
            );
        }
        for layer in 0..p.layers {
            names.extend(
                modules
                    .iter()
                    .map(|module| format!("model.layers.{layer}.{module}.weight")),
            );
        }
        names.retain(|name| self.dimensions(name).is_some());
        names
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.published.name,
            self.format_name().to_ascii_lowercase()
        )
    }
}

impl FromStr for Shape {
    type Err = String;

    /// Reads `llama-3.2-1b`, or with a format `llama-3.2-1b:q8_0`; the format is q4_k_m unless named.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, format) = text.split_once(':').unwrap_or((text, "q4_k_m"));
        let lower = name.to_ascii_lowercase();
        let Some(published) = PUBLISHED.iter().find(|published| published.name == lower) else {
            let names: Vec<&str> = Self::names().collect();
            return Err(format!(
                "{name:?} is no shape: use one of {}",
                names.join(", ")
            ));
        };
        let format = match format.to_ascii_lowercase().as_str() {
            "f16" => ShapeFormat::Dense(Format::F16),
            "bf16" => ShapeFormat::Dense(Format::Bf16),
            "f32" => ShapeFormat::Dense(Format::F32),
            other => ShapeFormat::Quantized(other.parse()?),
        };
        Ok(Self { published, format })
    }
}

/// Rows of random weights, by the name of their format and their width.
type RandomRows = BTreeMap<(&'static str, usize), Arc<Vec<u8>>>;

/// Weights of a shape, made as they are asked for.
#[derive(Debug)]
pub(crate) struct SyntheticSource {
    shape: Shape,
    path: PathBuf,
    target: TargetFormats,
    rows: Mutex<RandomRows>,
}

impl SyntheticSource {
    /// The weights of a shape.
    pub(crate) fn new(shape: Shape) -> Self {
        let quantization = match shape.format {
            ShapeFormat::Quantized(quantization) => Some(quantization),
            ShapeFormat::Dense(_) => None,
        };
        Self {
            path: PathBuf::from(shape.to_string()),
            target: TargetFormats::new(None, quantization, &shape.config()),
            shape,
            rows: Mutex::default(),
        }
    }

    /// The format of a tensor.
    fn format(&self, name: &str, dimensions: &[usize]) -> Format {
        match (dimensions, self.shape.format) {
            (&[_, columns], ShapeFormat::Quantized(_)) => {
                self.target.format_of(name, Format::F32, None, columns)
            }
            (&[_, _], ShapeFormat::Dense(format)) => format,
            _ => Format::F32,
        }
    }

    /// [`ROWS`] encoded rows of random weights.
    fn rows(&self, name: &str, format: Format, columns: usize) -> Result<Arc<Vec<u8>>> {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = known.get(&(format.name(), columns)) {
            return Ok(Arc::clone(rows));
        }
        let values: Vec<u8> = normal(columns as u64)
            .take(ROWS * columns)
            .flat_map(|value| (DEVIATION * value).to_le_bytes())
            .collect();
        let view = TensorView {
            format: Format::F32,
            shape: vec![ROWS, columns],
            bytes: values.into(),
            packed_as: None,
        };
        let encoded = match format {
            Format::F32 => view.bytes.into_owned(),
            _ => convert(&view, format).map_err(|message| ModelError::Pack {
                name: name.to_owned(),
                message,
            })?,
        };
        let rows = Arc::new(encoded);
        known.insert((format.name(), columns), Arc::clone(&rows));
        Ok(rows)
    }
}

impl TensorSource for SyntheticSource {
    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(shape) = self.shape.dimensions(name) else {
            return Ok(None);
        };
        let format = self.format(name, &shape);
        let bytes = match *shape.as_slice() {
            [rows, columns] => {
                let random = self.rows(name, format, columns)?;
                let row = random.len() / ROWS;
                // Each matrix begins elsewhere, so that no two layers are alike.
                let first = name
                    .bytes()
                    .fold(0_usize, |sum, byte| sum * 31 % 997 + usize::from(byte))
                    % ROWS;
                let all = random[first * row..].iter().chain(random.iter().cycle());
                all.take(rows * row).copied().collect()
            }
            // Norms.
            _ => 1.0_f32.to_le_bytes().repeat(shape[0]),
        };
        Ok(Some(TensorView {
            format,
            shape,
            bytes: bytes.into(),
            packed_as: None,
        }))
    }

    fn release(&self) {}

    fn path(&self) -> &Path {
        &self.path
    }

    fn total_bytes(&self) -> u64 {
        let tensors = self.tensors().unwrap_or_default();
        let bytes = tensors.iter().filter_map(|tensor| {
            let (&columns, rows) = tensor.shape.split_last()?;
            Some(rows.iter().product::<usize>() * tensor.format.row_bytes(columns)?)
        });
        bytes.sum::<usize>() as u64
    }

    fn tensors(&self) -> Result<Vec<TensorInfo>> {
        let tensors = self.shape.tensors().into_iter().filter_map(|name| {
            let shape = self.shape.dimensions(&name)?;
            Some(TensorInfo {
                format: self.format(&name, &shape),
                name,
                shape,
                packed_as: None,
            })
        });
        Ok(tensors.collect())
    }
}

/// Numbers of about a normal distribution, the same for a seed: sums of four that are uniform (Irwin and
/// Hall), drawn by SplitMix64 (G. Steele et al., "Fast splittable pseudorandom number generators", 2014).
fn normal(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    };
    // A sum of four has variance 1/3.
    std::iter::repeat_with(move || ((0..4).map(|_| uniform()).sum::<f32>() - 2.0) * 3.0_f32.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_number_of_weights_that_they_are_known_by() {
        let billions = [
            ("llama-3.2-1b", 1.24),
            ("llama-3.2-3b", 3.21),
            ("llama-3.1-8b", 8.03),
            ("mistral-7b", 7.25),
            ("mistral-small-24b", 23.57),
            ("mixtral-8x7b", 46.70),
        ];
        assert_eq!(
            billions.map(|(name, _)| name).to_vec(),
            Shape::names().collect::<Vec<_>>()
        );
        for (name, billions) in billions {
            let source = SyntheticSource::new(name.parse().unwrap());
            let weights = source
                .tensors()
                .unwrap()
                .iter()
                .map(|t| t.shape.iter().product::<usize>())
                .sum::<usize>();
            assert!(
                (weights as f64 / 1e9 - billions).abs() < 0.01,
                "{name}: {weights}"
            );
        }
    }

    #[test]
    fn matrices_have_the_formats_of_the_mix_and_rows_that_differ() {
        let shape: Shape = "llama-3.2-1b".parse().unwrap();
        assert_eq!(shape.to_string(), "llama-3.2-1b:q4_k_m");
        let source = SyntheticSource::new(shape);
        let get = |name: &str| source.get(name).unwrap().unwrap();
        let keys = get("model.layers.3.self_attn.k_proj.weight");
        assert_eq!(
            (keys.format, keys.shape.as_slice()),
            (Format::Q4K, &[512, 2048][..])
        );
        let row = Format::Q4K.row_bytes(2048).unwrap();
        assert_eq!(keys.bytes.len(), 512 * row);
        assert_ne!(keys.bytes[..row], keys.bytes[row..2 * row]);
        assert_eq!(
            get("model.layers.0.self_attn.v_proj.weight").format,
            Format::Q6K
        );
        assert_eq!(get("model.norm.weight").bytes.len(), 4 * 2048);
        assert!(
            source.get("lm_head.weight").unwrap().is_none(),
            "it is tied"
        );
        assert!(
            source
                .get("model.layers.16.self_attn.k_proj.weight")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn unknown_shapes_and_formats_are_named() {
        assert!(
            "llama-9"
                .parse::<Shape>()
                .unwrap_err()
                .contains("llama-3.2-1b")
        );
        assert!(
            "mistral-7b:q9"
                .parse::<Shape>()
                .unwrap_err()
                .contains("q4_k_m")
        );
        assert_eq!(
            "mistral-7b:F16".parse::<Shape>().unwrap().to_string(),
            "mistral-7b:f16"
        );
    }

    #[test]
    fn random_weights_are_about_normal() {
        let values: Vec<f32> = normal(1).take(20_000).collect();
        let mean = values.iter().sum::<f32>() / 2e4;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 2e4;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }
}
