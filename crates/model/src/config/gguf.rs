//! The same from the metadata of a GGUF file.

use matou_kernels::{Format, dequantize};

use super::model_config::{MAX_SIZE, ModelConfig};
use super::rope::{Llama4Scaling, RopeParameters, RopeScaling, long_attention_factor};
use crate::error::{Result, invalid_config};
use crate::weights::{GgufArray, GgufFile, GgufValue};

/// Every sixth layer of Gemma 3 sees the whole context.
const GEMMA3_PATTERN: usize = 6;
/// Layers of its largest size.
const GEMMA3_27B_LAYERS: usize = 62;
/// Every fourth layer of SmolLM3 has no rope.
const SMOLLM3_NO_ROPE_INTERVAL: usize = 4;

impl ModelConfig {
    /// Reads the metadata, and from the tensors what the metadata leaves to them: which biases
    /// there are, whether the head is tied, and the factors of the rope frequencies.
    pub(crate) fn from_gguf(file: &GgufFile) -> Result<Self> {
        let keys = Keys::new(file)?;
        let path = file.path();
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let kv_heads = keys
            .optional_size("attention.head_count_kv")?
            .unwrap_or(heads);
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(stated) => stated,
            None => hidden_size.checked_div(heads).unwrap_or(0),
        };
        if let Some(value_length) = keys.optional_size("attention.value_length")?
            && value_length != head_dim
        {
            return Err(invalid_config(
                path,
                &keys.name("attention.value_length"),
                format!("is {value_length}, unlike the keys' {head_dim}, which is not supported"),
            ));
        }
        let layers = keys.size("block_count")?;
        let rope = rope(file, &keys, head_dim)?;
        let has = |tensor: &str| file.tensor(tensor).is_some();
        Self {
            architecture: keys.architecture.clone(),
            vocab_size: vocab_size(file, &keys)?,
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: keys.size("context_length")?,
            rms_norm_eps: keys
                .number("attention.layer_norm_rms_epsilon")
                .unwrap_or(1e-6) as f32,
            norm_weights_include_one: true,
            tie_word_embeddings: !has("output.weight"),
            hidden_act: hidden_act(&keys.architecture).to_owned(),
            attention_bias: has("blk.0.attn_q.bias"),
            mlp_bias: has("blk.0.ffn_gate.bias"),
            sliding_window: keys
                .optional_size("attention.sliding_window")?
                .filter(|&w| w > 0),
            sliding_layers: sliding_layers(&keys, layers)?,
            rope_layers: match keys.architecture.as_str() {
                "smollm3" => all_but_every(SMOLLM3_NO_ROPE_INTERVAL, layers),
                _ => Vec::new(),
            },
            sliding_rope: sliding_rope(&keys, &rope),
            rope,
            num_local_experts: keys.optional_size("expert_count")?.unwrap_or(0),
            num_experts_per_tok: keys.optional_size("expert_used_count")?.unwrap_or(0),
            embedding_multiplier: keys.number("embedding_scale").map(|value| value as f32),
            attention_multiplier: keys.number("attention.scale").map(|value| value as f32),
            residual_multiplier: keys.number("residual_scale").map(|value| value as f32),
            logits_scaling: keys.number("logit_scale").map(|value| value as f32),
            // llama.cpp knows the 27B, whose heads are not what its scores are scaled by, from its
            // number of layers as well.
            query_pre_attn_scalar: (keys.architecture == "gemma3" && layers == GEMMA3_27B_LAYERS)
                .then(|| hidden_size as f32 / heads as f32),
            attn_logit_softcapping: keys
                .number("attn_logit_softcapping")
                .map(|value| value as f32),
            final_logit_softcapping: keys
                .number("final_logit_softcapping")
                .map(|value| value as f32),
        }
        .validate(path)
    }
}

/// The name of the architecture, which the names of the other keys begin with.
pub(crate) fn architecture(file: &GgufFile) -> Result<&str> {
    file.metadata()
        .get("general.architecture")
        .and_then(GgufValue::as_str)
        .ok_or_else(|| {
            invalid_config(
                file.path(),
                "general.architecture",
                "is missing or no string".to_owned(),
            )
        })
}

/// Lookups of `{architecture}.key`.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: String,
}

impl<'a> Keys<'a> {
    fn new(file: &'a GgufFile) -> Result<Self> {
        Ok(Self {
            file,
            architecture: architecture(file)?.to_owned(),
        })
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.file.metadata().get(&self.name(key))
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(GgufValue::as_f64)
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| {
            invalid_config(self.file.path(), &self.name(key), "is missing".to_owned())
        })
    }

    /// A size; some writers state one for each layer, which is fine if they are all the same.
    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let uniform = |sizes: Vec<u64>| {
            let first = *sizes.first()?;
            sizes.iter().all(|&size| size == first).then_some(first)
        };
        value
            .as_u64()
            .or_else(|| value.to_u64s().and_then(uniform))
            .and_then(|size| usize::try_from(size).ok())
            .map(Some)
            .ok_or_else(|| {
                invalid_config(
                    self.file.path(),
                    &self.name(key),
                    "is not one size for all layers".to_owned(),
                )
            })
    }
}

/// Rows of the embedding: what `vocab_size` or the token list say may lack padding rows.
fn vocab_size(file: &GgufFile, keys: &Keys<'_>) -> Result<usize> {
    match file
        .tensor("token_embd.weight")
        .map(|tensor| tensor.shape())
    {
        Some(&[rows, _]) => Ok(rows),
        _ => keys.size("vocab_size"),
    }
}

/// The activation, which files leave to the architecture.
fn hidden_act(architecture: &str) -> &'static str {
    match architecture {
        "gemma3" => "gelu_pytorch_tanh",
        _ => "silu",
    }
}

/// Which layers slide: listed, or all but every so many; Gemma's files leave it to the architecture.
fn sliding_layers(keys: &Keys<'_>, layers: usize) -> Result<Vec<bool>> {
    let key = "attention.sliding_window_pattern";
    if let Some(GgufValue::Array(GgufArray::Bool(listed))) = keys.get(key) {
        return Ok(listed.clone());
    }
    Ok(match keys.optional_size(key)? {
        Some(interval) => all_but_every(interval, layers),
        None if keys.architecture == "gemma3" => all_but_every(GEMMA3_PATTERN, layers),
        None => Vec::new(),
    })
}

/// False for every `interval`th layer, true for the others.
fn all_but_every(interval: usize, layers: usize) -> Vec<bool> {
    (1..=layers.min(MAX_SIZE))
        .map(|layer| !layer.is_multiple_of(interval))
        .collect()
}

/// Gemma 3 rotates in the layers that slide at the base of its predecessors, unscaled.
fn sliding_rope(keys: &Keys<'_>, rope: &RopeParameters) -> Option<RopeParameters> {
    (keys.architecture == "gemma3").then(|| RopeParameters {
        theta: keys.number("rope.freq_base_swa").unwrap_or(10_000.0),
        scaling: RopeScaling::Default,
        ..rope.clone()
    })
}

fn rope(file: &GgufFile, keys: &Keys<'_>, head_dim: usize) -> Result<RopeParameters> {
    let rotary_dim = keys
        .optional_size("rope.dimension_count")?
        .unwrap_or(head_dim);
    let scaling_type = keys.get("rope.scaling.type").and_then(GgufValue::as_str);
    let factor = keys
        .number("rope.scaling.factor")
        .or_else(|| keys.number("rope.scale_linear"))
        .filter(|factor| factor.is_finite() && *factor > 0.0);
    let scaling = match (factors(file, "rope_freqs.weight")?, scaling_type, factor) {
        (Some(factors), _, _) => RopeScaling::Factors {
            factors,
            attention_factor: 1.0,
        },
        (None, None | Some("longrope" | "none"), _) if file.tensor(LONG_FACTORS).is_some() => {
            long_scaling(file, keys)?
        }
        // A factor beside it means nothing.
        (None, Some("none"), _) => RopeScaling::Default,
        (None, None | Some("linear"), Some(factor)) => RopeScaling::Linear { factor },
        (None, Some("yarn"), Some(factor)) => RopeScaling::Yarn {
            factor,
            beta_fast: keys.number("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
            beta_slow: keys.number("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
            original_max_position_embeddings: keys.size("rope.scaling.original_context_length")?
                as f64,
            attention_factor: yarn_attention_factor(keys, factor),
            truncate: true,
        },
        (None, None | Some("linear"), None) => RopeScaling::Default,
        (None, other, _) => {
            return Err(invalid_config(
                file.path(),
                &keys.name("rope.scaling.type"),
                format!(
                    "is {other:?}; supported: none, linear, yarn, longrope with its tensors, and the tensor rope_freqs.weight"
                ),
            ));
        }
    };
    Ok(RopeParameters {
        theta: keys.number("rope.freq_base").unwrap_or(10_000.0),
        partial_rotary_factor: rotary_dim as f64 / head_dim.max(1) as f64,
        scaling,
        llama_4_scaling: llama_4_scaling(keys),
    })
}

/// Cosine and sine grow with the logarithm of the factor, unless the multiplier of Mistral's later
/// models takes that back.
fn yarn_attention_factor(keys: &Keys<'_>, factor: f64) -> f64 {
    let magnitude = |multiplier: f64| 1.0 + 0.1 * multiplier * factor.max(1.0).ln();
    let stated = keys.number("rope.scaling.attn_factor").unwrap_or(1.0);
    let multiplier = keys.number("rope.scaling.yarn_log_multiplier");
    match multiplier.filter(|multiplier| *multiplier != 0.0) {
        Some(multiplier) => stated * magnitude(1.0) / magnitude(multiplier),
        None => stated * magnitude(1.0),
    }
}

/// Queries that grow with their position (Ministral 3).
fn llama_4_scaling(keys: &Keys<'_>) -> Option<Llama4Scaling> {
    let beta = keys.number("attention.temperature_scale")?;
    let original = keys
        .number("attention.temperature_length")
        .or_else(|| keys.number("rope.scaling.original_context_length"))?;
    Some(Llama4Scaling {
        beta,
        original_max_position_embeddings: original,
    })
    .filter(|_| beta.is_finite() && original.is_finite() && original >= 1.0)
}

/// The factors of longrope, for contexts beyond those seen at first and for others.
const LONG_FACTORS: &str = "rope_factors_long.weight";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

fn long_scaling(file: &GgufFile, keys: &Keys<'_>) -> Result<RopeScaling> {
    let factors = |name: &str| {
        factors(file, name)?
            .ok_or_else(|| invalid_config(file.path(), name, "is missing".to_owned()))
    };
    let original = keys.size("rope.scaling.original_context_length")? as f64;
    let stretched = keys.size("context_length")? as f64 / original;
    Ok(RopeScaling::Long {
        short: factors(SHORT_FACTORS)?,
        long: factors(LONG_FACTORS)?,
        original_max_position_embeddings: original,
        attention_factor: keys
            .number("rope.scaling.attn_factor")
            .unwrap_or_else(|| long_attention_factor(stretched, original)),
    })
}

/// A tensor that divides each frequency: `rope_freqs` of Llama 3.1 and later, or those of longrope.
fn factors(file: &GgufFile, name: &str) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = file.tensor(name) else {
        return Ok(None);
    };
    let (Format::F32, bytes) = file.data(name, tensor)? else {
        return Err(invalid_config(
            file.path(),
            name,
            format!("has type {}, not F32", tensor.type_name()),
        ));
    };
    let mut factors = vec![0.0; bytes.len() / size_of::<f32>()];
    dequantize(Format::F32, bytes, &mut factors)
        .map_err(|error| invalid_config(file.path(), name, error.to_string()))?;
    match factors
        .iter()
        .all(|factor| factor.is_finite() && *factor > 0.0)
    {
        true => Ok(Some(factors)),
        false => Err(invalid_config(
            file.path(),
            name,
            "has factors that are not positive".to_owned(),
        )),
    }
}
