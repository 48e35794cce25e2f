//! `params.json`, the config of Mistral's own layout.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::json_file::read_json;
use super::model_config::{MAX_SIZE, ModelConfig};
use super::rope::{Llama4Scaling, RopeParameters, RopeScaling};
use crate::error::{Result, invalid_config};

/// The name of the file.
pub(crate) const PARAMS_FILE: &str = "params.json";

/// Longest context of models that do not say.
const DEFAULT_CONTEXT: usize = 32_768;

/// The fields that matter, as written.
#[derive(Deserialize)]
struct Params {
    dim: Option<usize>,
    n_layers: Option<usize>,
    head_dim: Option<usize>,
    hidden_dim: Option<usize>,
    n_heads: Option<usize>,
    n_kv_heads: Option<usize>,
    norm_eps: Option<f32>,
    vocab_size: Option<usize>,
    rope_theta: Option<f64>,
    sliding_window: Option<Value>,
    _sliding_window: Option<Value>,
    tied_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
    max_seq_len: Option<usize>,
    moe: Option<Moe>,
    yarn: Option<Yarn>,
    llama_4_scaling: Option<RawLlama4>,
}

#[derive(Deserialize)]
struct Moe {
    num_experts: usize,
    num_experts_per_tok: usize,
}

#[derive(Deserialize)]
struct Yarn {
    factor: f64,
    original_max_position_embeddings: f64,
    /// The ramp's fast end.
    beta: f64,
    /// Its slow end.
    alpha: f64,
    /// Whether cosine and sine grow.
    apply_scale: Option<bool>,
}

#[derive(Deserialize)]
struct RawLlama4 {
    beta: f64,
    original_max_position_embeddings: f64,
}

impl ModelConfig {
    /// Reads `params.json` of a folder.
    pub(crate) fn from_params(folder: &Path) -> Result<Self> {
        let path = folder.join(PARAMS_FILE);
        let params: Params = read_json(&path)?;
        params.into_config(&path)?.validate(&path)
    }
}

impl Params {
    fn into_config(self, path: &Path) -> Result<ModelConfig> {
        let required = |field: &str, value: Option<usize>| {
            value.ok_or_else(|| invalid_config(path, field, "is missing".to_owned()))
        };
        let hidden_size = required("dim", self.dim)?;
        let heads = required("n_heads", self.n_heads)?;
        let window = self.sliding_window.or(self._sliding_window);
        let (experts, per_token) = self
            .moe
            .map_or((0, 0), |moe| (moe.num_experts, moe.num_experts_per_tok));
        let context = self.max_position_embeddings.or(self.max_seq_len);
        Ok(ModelConfig {
            architecture: match experts {
                0 => "MistralForCausalLM".to_owned(),
                _ => "MixtralForCausalLM".to_owned(),
            },
            vocab_size: required("vocab_size", self.vocab_size)?,
            hidden_size,
            intermediate_size: required("hidden_dim", self.hidden_dim)?,
            num_hidden_layers: required("n_layers", self.n_layers)?,
            num_attention_heads: heads,
            num_key_value_heads: self.n_kv_heads.unwrap_or(heads),
            head_dim: match self.head_dim {
                Some(stated) => stated,
                None => hidden_size.checked_div(heads).unwrap_or(0),
            },
            max_position_embeddings: context.unwrap_or(DEFAULT_CONTEXT),
            rms_norm_eps: self.norm_eps.unwrap_or(1e-5),
            tie_word_embeddings: self.tied_embeddings.unwrap_or(false),
            hidden_act: "silu".to_owned(),
            sliding_layers: windows(path, window.as_ref(), self.n_layers.unwrap_or(0))?,
            sliding_window: window.as_ref().and_then(largest_window),
            rope: RopeParameters {
                theta: self.rope_theta.unwrap_or(10_000.0),
                partial_rotary_factor: 1.0,
                scaling: self.yarn.map_or(RopeScaling::Default, Yarn::into_scaling),
                llama_4_scaling: self.llama_4_scaling.map(|scaling| Llama4Scaling {
                    beta: scaling.beta,
                    original_max_position_embeddings: scaling.original_max_position_embeddings,
                }),
            },
            num_local_experts: experts,
            num_experts_per_tok: per_token,
            ..ModelConfig::default()
        })
    }
}

impl Yarn {
    fn into_scaling(self) -> RopeScaling {
        let grows = self.apply_scale.unwrap_or(true) && self.factor > 1.0;
        RopeScaling::Yarn {
            factor: self.factor,
            beta_fast: self.beta,
            beta_slow: self.alpha,
            original_max_position_embeddings: self.original_max_position_embeddings,
            attention_factor: if grows {
                0.1 * self.factor.ln() + 1.0
            } else {
                1.0
            },
            truncate: true,
        }
    }
}

/// The window; of a list, whose entries repeat over the layers, the one that is there.
fn largest_window(window: &Value) -> Option<usize> {
    let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
    match window {
        Value::Array(list) => list.iter().filter_map(size).max(),
        one => size(one),
    }
}

/// Which layers slide, where a list says so.
fn windows(path: &Path, window: Option<&Value>, layers: usize) -> Result<Vec<bool>> {
    let Some(Value::Array(list)) = window else {
        return Ok(Vec::new());
    };
    let mut sizes = list.iter().filter(|size| !size.is_null());
    let first = sizes.next();
    if sizes.any(|size| Some(size) != first) {
        return Err(invalid_config(
            path,
            "sliding_window",
            "has windows of several sizes, which is not supported".to_owned(),
        ));
    }
    let slides = list.iter().map(|size| !size.is_null());
    Ok(slides.cycle().take(layers.min(MAX_SIZE)).collect())
}
