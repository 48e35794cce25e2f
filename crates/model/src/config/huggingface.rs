//! `config.json`, in the spellings of transformers 4 and 5.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::model_config::{MAX_SIZE, ModelConfig};
use super::rope::{RawRope, RopeParameters};
use crate::error::{Result, invalid_config};

/// The fields that matter, as written. `None` stands for both missing and `null`.
#[derive(Deserialize)]
pub(super) struct RawHuggingFaceConfig {
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
    original_max_position_embeddings: Option<f64>,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    embedding_multiplier: Option<f32>,
    attention_multiplier: Option<f32>,
    residual_multiplier: Option<f32>,
    logits_scaling: Option<f32>,
    query_pre_attn_scalar: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
}

impl RawHuggingFaceConfig {
    pub(super) fn into_config(self, path: &Path) -> Result<ModelConfig> {
        let required = |field: &str, value: Option<usize>| {
            value.ok_or_else(|| invalid_config(path, field, "is missing".to_owned()))
        };
        let architecture = self
            .architectures
            .as_ref()
            .and_then(|names| names.first())
            .ok_or_else(|| invalid_config(path, "architectures", "is missing".to_owned()))?
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
                    other => Err(invalid_config(
                        path,
                        "layer_types",
                        format!("has {other:?}; supported: full_attention, sliding_attention"),
                    )),
                })
                .collect();
        }
        let layers = layers.min(MAX_SIZE);
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
            (None, Some(interval)) if interval > 0 => (1..=layers.min(MAX_SIZE))
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
    ) -> Result<(RopeParameters, Option<RopeParameters>)> {
        let theta = self.rope_theta.unwrap_or(10_000.0);
        let parse = |value: &Value| -> Result<RawRope> {
            let mut raw: RawRope = serde_json::from_value(value.clone())
                .map_err(|error| invalid_config(path, "rope_scaling", error.to_string()))?;
            raw.partial_rotary_factor = raw.partial_rotary_factor.or(self.partial_rotary_factor);
            raw.original_max_position_embeddings = raw
                .original_max_position_embeddings
                .or(self.original_max_position_embeddings);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::RopeScaling;

    /// A config of four layers with `fields` added, or replaced.
    fn config(fields: Value) -> ModelConfig {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 128,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
        });
        if let (Value::Object(config), Value::Object(fields)) = (&mut config, fields) {
            config.extend(fields);
        }
        let path = Path::new("config.json");
        let raw: RawHuggingFaceConfig = serde_json::from_value(config).unwrap();
        raw.into_config(path).unwrap().validate(path).unwrap()
    }

    fn windows(config: &ModelConfig) -> Vec<Option<usize>> {
        (0..4).map(|layer| config.layer_window(layer)).collect()
    }

    #[test]
    fn fields_left_out_or_null_have_their_defaults() {
        let config =
            config(json!({"head_dim": null, "sliding_window": null, "rope_scaling": null}));
        assert_eq!((config.head_dim, config.num_key_value_heads), (16, 4));
        assert_eq!(
            (config.rope.theta, &config.rope.scaling),
            (10_000.0, &RopeScaling::Default)
        );
        assert_eq!(windows(&config), [None; 4]);
        assert!(!config.tie_word_embeddings && !config.attention_bias);
    }

    #[test]
    fn both_spellings_of_rope_say_the_same() {
        let scaling = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(500_000.0);
        let mut oldest = scaling.clone();
        oldest["type"] = oldest["rope_type"].take();
        let spellings = [
            json!({"rope_theta": 500_000.0, "rope_scaling": scaling}),
            json!({"rope_theta": 500_000.0, "rope_scaling": oldest}),
            json!({"rope_parameters": parameters}),
        ];
        let [first, others @ ..] = spellings.map(|fields| config(fields).rope);
        assert!(matches!(
            first.scaling,
            RopeScaling::Llama3 { factor: 8.0, .. }
        ));
        assert!(others.iter().all(|other| *other == first));
    }

    #[test]
    fn windows_follow_each_familys_rule() {
        let window = Some(16);
        let all = config(json!({"sliding_window": 16}));
        assert_eq!(windows(&all), [window; 4]);
        let off = config(json!({"sliding_window": 16, "use_sliding_window": false}));
        assert_eq!(windows(&off), [None; 4]);
        let upper =
            json!({"sliding_window": 16, "use_sliding_window": true, "max_window_layers": 3});
        assert_eq!(windows(&config(upper)), [None, None, None, window]);
        let pattern = json!({"sliding_window": 16, "sliding_window_pattern": 2});
        assert_eq!(windows(&config(pattern)), [window, None, window, None]);
        let types = [
            "full_attention",
            "full_attention",
            "sliding_attention",
            "full_attention",
        ];
        let listed = json!({"sliding_window": 16, "layer_types": types});
        assert_eq!(windows(&config(listed)), [None, None, window, None]);
    }

    #[test]
    fn layers_without_rope_are_listed_or_come_at_an_interval() {
        let has_rope = |fields| {
            let config = config(fields);
            (0..4)
                .map(|layer| config.layer_rope(layer).is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            has_rope(json!({"no_rope_layers": [1, 0, 1, 1]})),
            [true, false, true, true]
        );
        assert_eq!(
            has_rope(json!({"no_rope_layer_interval": 4})),
            [true, true, true, false]
        );
    }

    #[test]
    fn layers_that_slide_can_have_a_rope_of_their_own() {
        let older = config(json!({
            "sliding_window": 16, "sliding_window_pattern": 2, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
        }));
        let newer = config(json!({
            "sliding_window": 16, "sliding_window_pattern": 2,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        }));
        for config in [older, newer] {
            let theta = |layer| config.layer_rope(layer).unwrap().theta;
            assert_eq!((theta(0), theta(1)), (1e4, 1e6));
        }
    }
}
