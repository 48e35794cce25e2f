//! Parameters of rotary position embeddings, in both spellings of Hugging Face.
//!
//! Up to transformers 4 a config has `rope_theta` beside an optional `rope_scaling`; from 5 on both
//! are one object, `rope_parameters`.

use std::path::Path;

use serde::Deserialize;

use super::invalid;
use crate::error::Result;

/// How one layer's queries and keys are rotated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RopeParameters {
    /// Base of the frequencies.
    pub(crate) theta: f64,
    /// Share of each head that is rotated.
    pub(crate) partial_rotary_factor: f64,
    pub(crate) scaling: RopeScaling,
    pub(crate) llama_4_scaling: Option<Llama4Scaling>,
}

/// How the frequencies are changed for contexts longer than those seen at first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    /// Not at all.
    Default,
    /// All divided by one factor.
    Linear { factor: f64 },
    /// Low frequencies divided, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
    /// The same by number of rotations, with a change of magnitude (<https://arxiv.org/abs/2309.00071>).
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_max_position_embeddings: f64,
        /// Factor on cosine and sine.
        attention_factor: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
    /// Each frequency divided by a factor of its own (`rope_freqs` of GGUF files).
    Factors(Vec<f32>),
}

/// Queries grow with the logarithm of the position: `1 + beta * ln(1 + floor(position / original))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Llama4Scaling {
    pub(crate) beta: f64,
    pub(crate) original_max_position_embeddings: f64,
}

impl RopeParameters {
    /// Dimensions of each head that rotate.
    pub(crate) fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial_rotary_factor) as usize
    }

    pub(super) fn validate(&self, path: &Path, head_dim: usize) -> Result<()> {
        if !self.theta.is_finite() || self.theta <= 0.0 {
            return Err(invalid(path, "rope_theta", format!("is {}", self.theta)));
        }
        let rotary_dim = self.rotary_dim(head_dim);
        if rotary_dim == 0 || rotary_dim > head_dim || !rotary_dim.is_multiple_of(2) {
            return Err(invalid(
                path,
                "partial_rotary_factor",
                format!("makes {rotary_dim} of a head's {head_dim} dimensions rotate"),
            ));
        }
        match &self.scaling {
            RopeScaling::Factors(factors) if factors.len() != rotary_dim / 2 => Err(invalid(
                path,
                "rope_freqs.weight",
                format!(
                    "has {} factors for {} frequencies",
                    factors.len(),
                    rotary_dim / 2
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// `rope_scaling` or `rope_parameters`, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRope {
    rope_type: Option<String>,
    /// The older name of `rope_type`; many configs have both.
    r#type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    llama_4_scaling_beta: Option<f64>,
}

impl RawRope {
    /// Fills in defaults and checks the type.
    pub(super) fn into_parameters(
        self,
        path: &Path,
        default_theta: f64,
        max_position_embeddings: usize,
    ) -> Result<RopeParameters> {
        let original = self
            .original_max_position_embeddings
            .unwrap_or(max_position_embeddings as f64);
        let required = |field: &str, value: Option<f64>| {
            value
                .filter(|value| value.is_finite() && *value > 0.0)
                .ok_or_else(|| {
                    invalid(
                        path,
                        &format!("rope_scaling.{field}"),
                        "must be a positive number".to_owned(),
                    )
                })
        };
        let scaling = match self
            .rope_type
            .as_deref()
            .or(self.r#type.as_deref())
            .unwrap_or("default")
        {
            "default" | "mrope" => RopeScaling::Default,
            "linear" => RopeScaling::Linear {
                factor: required("factor", self.factor)?,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: required("factor", self.factor)?,
                low_freq_factor: required("low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: required("high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings: required(
                    "original_max_position_embeddings",
                    Some(original),
                )?,
            },
            "yarn" => {
                let factor = required("factor", self.factor)?;
                RopeScaling::Yarn {
                    factor,
                    beta_fast: self.beta_fast.unwrap_or(32.0),
                    beta_slow: self.beta_slow.unwrap_or(1.0),
                    original_max_position_embeddings: required(
                        "original_max_position_embeddings",
                        Some(original),
                    )?,
                    attention_factor: self.yarn_attention_factor(factor),
                    truncate: self.truncate.unwrap_or(true),
                }
            }
            other => {
                return Err(invalid(
                    path,
                    "rope_scaling.rope_type",
                    format!("is {other:?}; supported: default, linear, llama3, yarn"),
                ));
            }
        };
        Ok(RopeParameters {
            theta: self.rope_theta.unwrap_or(default_theta),
            partial_rotary_factor: self.partial_rotary_factor.unwrap_or(1.0),
            scaling,
            llama_4_scaling: self.llama_4_scaling_beta.map(|beta| Llama4Scaling {
                beta,
                original_max_position_embeddings: original,
            }),
        })
    }

    fn yarn_attention_factor(&self, factor: f64) -> f64 {
        let magnitude = |mscale: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * mscale * factor.ln() + 1.0
            }
        };
        match (self.attention_factor, self.mscale, self.mscale_all_dim) {
            (Some(stated), _, _) => stated,
            (None, Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                magnitude(mscale) / magnitude(all)
            }
            _ => magnitude(1.0),
        }
    }
}
