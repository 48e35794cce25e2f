//! `config.json`, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::rope::RawRope;
use super::{ModelConfig, invalid};
use crate::error::{ModelError, Result};

/// The fields that matter, as written. `None` stands for both missing and `null`.
#[derive(Deserialize)]
struct RawConfig {
    architectures: Option<Vec<String>>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    sliding_window_pattern: Option<usize>,
    _sliding_window_pattern: Option<usize>,
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    partial_rotary_factor: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    embedding_multiplier: Option<f32>,
    attention_multiplier: Option<f32>,
    residual_multiplier: Option<f32>,
    logits_scaling: Option<f32>,
    query_pre_attn_scalar: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<TokenIds>,
}

/// `generation_config.json`, of which only the end tokens matter here.
#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<TokenIds>,
}

/// One token id, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Several(Vec<u32>),
}

impl TokenIds {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

impl ModelConfig {
    /// Reads `config.json` of a folder, and `generation_config.json` where there is one: its set of
    /// end tokens is the one that generation goes by.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let raw: RawConfig = read_json(&path)?;
        let mut config = raw.into_config(&path)?;
        let generation = folder.join("generation_config.json");
        if generation.exists()
            && let Some(ids) = read_json::<GenerationConfig>(&generation)?.eos_token_id
        {
            config.eos_token_ids = ids.into_vec();
        }
        config.validate(&path)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::InvalidFile {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

impl RawConfig {
    fn into_config(self, path: &Path) -> Result<ModelConfig> {
        let required = |field: &str, value: Option<usize>| {
            value.ok_or_else(|| invalid(path, field, "is missing".to_owned()))
        };
        let architecture = self
            .architectures
            .as_ref()
            .and_then(|names| names.first())
            .ok_or_else(|| invalid(path, "architectures", "is missing".to_owned()))?
            .clone();
        let hidden_size = required("hidden_size", self.hidden_size)?;
        let heads = required("num_attention_heads", self.num_attention_heads)?;
        let layers = required("num_hidden_layers", self.num_hidden_layers)?;
        let max_position_embeddings =
            required("max_position_embeddings", self.max_position_embeddings)?;
        let head_dim = match self.head_dim {
            Some(stated) => stated,
            None => hidden_size.checked_div(heads).unwrap_or(0),
        };
        let (rope, sliding_rope) = self.rope(path, max_position_embeddings)?;
        Ok(ModelConfig {
            vocab_size: required("vocab_size", self.vocab_size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            norm_weights_include_one: false,
            // transformers' default is to tie only for Gemma, whose configs leave the field out.
            tie_word_embeddings: self
                .tie_word_embeddings
                .unwrap_or(architecture.starts_with("Gemma")),
            hidden_act: self
                .hidden_activation
                .clone()
                .or_else(|| self.hidden_act.clone())
                .unwrap_or_else(|| "silu".to_owned()),
            attention_bias: self.attention_bias.unwrap_or(false),
            mlp_bias: self.mlp_bias.unwrap_or(false),
            sliding_window: self
                .sliding_window
                .filter(|_| self.use_sliding_window != Some(false)),
            sliding_layers: self.sliding_layers(path, layers)?,
            rope_layers: self.rope_layers(layers),
            rope,
            sliding_rope,
            num_local_experts: self.num_local_experts.unwrap_or(0),
            num_experts_per_tok: self.num_experts_per_tok.unwrap_or(0),
            embedding_multiplier: self.embedding_multiplier,
            attention_multiplier: self.attention_multiplier,
            residual_multiplier: self.residual_multiplier,
            logits_scaling: self.logits_scaling,
            query_pre_attn_scalar: self.query_pre_attn_scalar,
            attn_logit_softcapping: self.attn_logit_softcapping,
            final_logit_softcapping: self.final_logit_softcapping,
            bos_token_id: self.bos_token_id,
            eos_token_ids: self
                .eos_token_id
                .map(TokenIds::into_vec)
                .unwrap_or_default(),
            architecture,
        })
    }

    /// Which layers slide: listed, or by the rule of the family's older configs.
    fn sliding_layers(&self, path: &Path, layers: usize) -> Result<Vec<bool>> {
        if let Some(types) = &self.layer_types {
            return types
                .iter()
                .map(|layer_type| match layer_type.as_str() {
                    "sliding_attention" => Ok(true),
                    "full_attention" => Ok(false),
                    other => Err(invalid(
                        path,
                        "layer_types",
                        format!("has {other:?}; supported: full_attention, sliding_attention"),
                    )),
                })
                .collect();
        }
        let layers = layers.min(super::MAX_SIZE);
        let pattern = self.sliding_window_pattern.or(self._sliding_window_pattern);
        Ok(match (pattern, self.max_window_layers) {
            (Some(pattern), _) if pattern > 0 => (1..=layers)
                .map(|layer| !layer.is_multiple_of(pattern))
                .collect(),
            (_, Some(first)) if self.use_sliding_window == Some(true) => {
                (0..layers).map(|layer| layer >= first).collect()
            }
            _ => Vec::new(),
        })
    }

    /// Which layers have rope. (`no_rope_layers` has a 1 where there *is* rope.)
    fn rope_layers(&self, layers: usize) -> Vec<bool> {
        match (&self.no_rope_layers, self.no_rope_layer_interval) {
            (Some(flags), _) => flags.iter().map(|&flag| flag != 0).collect(),
            (None, Some(interval)) if interval > 0 => (1..=layers.min(super::MAX_SIZE))
                .map(|layer| !layer.is_multiple_of(interval))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Rope of the layers, and of those that slide if it differs.
    fn rope(
        &self,
        path: &Path,
        max_position: usize,
    ) -> Result<(super::RopeParameters, Option<super::RopeParameters>)> {
        let theta = self.rope_theta.unwrap_or(10_000.0);
        let parse = |value: &Value| -> Result<RawRope> {
            let mut raw: RawRope = serde_json::from_value(value.clone())
                .map_err(|error| invalid(path, "rope_scaling", error.to_string()))?;
            raw.partial_rotary_factor = raw.partial_rotary_factor.or(self.partial_rotary_factor);
            Ok(raw)
        };
        let stated = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let by_type = |layer_type| stated.and_then(|rope| rope.get(layer_type));
        if let (Some(full), Some(sliding)) =
            (by_type("full_attention"), by_type("sliding_attention"))
        {
            let full = parse(full)?.into_parameters(path, theta, max_position)?;
            let sliding = parse(sliding)?.into_parameters(path, theta, max_position)?;
            return Ok((full, Some(sliding)));
        }
        let empty = Value::Object(serde_json::Map::new());
        let rope = parse(stated.unwrap_or(&empty))?.into_parameters(path, theta, max_position)?;
        let sliding = match self.rope_local_base_freq {
            Some(local) => Some(parse(&empty)?.into_parameters(path, local, max_position)?),
            None => None,
        };
        Ok((rope, sliding))
    }
}
