//! Parameters of rotary position embeddings, in both spellings of Hugging Face.
//!
//! Up to transformers 4 a config has `rope_theta` beside an optional `rope_scaling`; from 5 on both
//! are one object, `rope_parameters`.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Result, invalid_config};

/// How one layer's queries and keys are rotated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RopeParameters {
    /// Base of the frequencies.
    pub(crate) theta: f64,
    /// Share of each head that is rotated.
    pub(crate) partial_rotary_factor: f64,
    pub(crate) scaling: RopeScaling,
    pub(crate) llama_4_scaling: Option<Llama4Scaling>,
}

/// How the frequencies are changed for contexts longer than those seen at first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum RopeScaling {
    /// Not at all.
    #[default]
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
    Factors {
        factors: Vec<f32>,
        /// Factor on cosine and sine.
        attention_factor: f64,
    },
    /// Factors of their own for contexts beyond those seen at first (Phi-3,
    /// <https://arxiv.org/abs/2402.13753>); becomes [`RopeScaling::Factors`].
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        original_max_position_embeddings: f64,
        attention_factor: f64,
    },
    /// A larger base for longer contexts, by their length; becomes [`RopeScaling::Default`].
    Dynamic {
        factor: f64,
        original_max_position_embeddings: f64,
    },
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

    /// Settles what depends on how long contexts may get. For one model they are all rotated alike,
    /// or a token's logits would depend on what follows it.
    pub(super) fn settle(&mut self, context: usize, head_dim: usize) {
        let context = context as f64;
        match &mut self.scaling {
            RopeScaling::Long {
                short,
                long,
                original_max_position_embeddings,
                attention_factor,
            } => {
                let beyond = context > *original_max_position_embeddings;
                self.scaling = RopeScaling::Factors {
                    factors: std::mem::take(if beyond { long } else { short }),
                    attention_factor: *attention_factor,
                };
            }
            RopeScaling::Dynamic {
                factor,
                original_max_position_embeddings: original,
            } => {
                let dim = self.partial_rotary_factor * head_dim as f64;
                if context > *original && dim > 2.0 {
                    let growth = *factor * context / *original - (*factor - 1.0);
                    self.theta *= growth.powf(dim / (dim - 2.0));
                }
                self.scaling = RopeScaling::Default;
            }
            _ => {}
        }
    }

    pub(super) fn validate(&self, path: &Path, head_dim: usize) -> Result<()> {
        if !self.theta.is_finite() || self.theta <= 0.0 {
            return Err(invalid_config(
                path,
                "rope_theta",
                format!("is {}", self.theta),
            ));
        }
        let rotary_dim = self.rotary_dim(head_dim);
        if rotary_dim == 0 || rotary_dim > head_dim || !rotary_dim.is_multiple_of(2) {
            return Err(invalid_config(
                path,
                "partial_rotary_factor",
                format!("makes {rotary_dim} of a head's {head_dim} dimensions rotate"),
            ));
        }
        let check = |field: &str, factors: &[f32]| {
            let positive = factors.iter().all(|f| f.is_finite() && *f > 0.0);
            if positive && factors.len() == rotary_dim / 2 {
                return Ok(());
            }
            let (count, wanted) = (factors.len(), rotary_dim / 2);
            let message =
                format!("has {count} factors for {wanted} frequencies, or some are not positive");
            Err(invalid_config(path, field, message))
        };
        match &self.scaling {
            RopeScaling::Factors { factors, .. } => check("rope_freqs.weight", factors),
            RopeScaling::Long { short, long, .. } => {
                check("short_factor", short)?;
                check("long_factor", long)
            }
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
    pub(super) original_max_position_embeddings: Option<f64>,
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    llama_4_scaling_beta: Option<f64>,
}

/// Factors that must be there.
fn factors(path: &Path, field: &str, factors: Option<Vec<f32>>) -> Result<Vec<f32>> {
    factors.ok_or_else(|| {
        invalid_config(
            path,
            &format!("rope_scaling.{field}"),
            "is missing".to_owned(),
        )
    })
}

/// The growth of cosine and sine where contexts are stretched by `factor`.
pub(super) fn long_attention_factor(factor: f64, original: f64) -> f64 {
    if factor <= 1.0 || original <= 1.0 {
        return 1.0;
    }
    (1.0 + factor.ln() / original.ln()).sqrt()
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
                    invalid_config(
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
            // The name that it had first.
            "longrope" | "su" => RopeScaling::Long {
                short: factors(path, "short_factor", self.short_factor)?,
                long: factors(path, "long_factor", self.long_factor)?,
                original_max_position_embeddings: required(
                    "original_max_position_embeddings",
                    Some(original),
                )?,
                attention_factor: self.attention_factor.unwrap_or_else(|| {
                    let stretched = max_position_embeddings as f64 / original;
                    long_attention_factor(self.factor.unwrap_or(stretched), original)
                }),
            },
            "dynamic" => RopeScaling::Dynamic {
                factor: required("factor", self.factor)?,
                original_max_position_embeddings: required(
                    "original_max_position_embeddings",
                    Some(original),
                )?,
            },
            other => {
                return Err(invalid_config(
                    path,
                    "rope_scaling.rope_type",
                    format!(
                        "is {other:?}; supported: default, linear, dynamic, llama3, longrope, yarn"
                    ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> RopeParameters {
        RopeParameters {
            theta: 10_000.0,
            partial_rotary_factor: 1.0,
            scaling,
            llama_4_scaling: None,
        }
    }

    #[test]
    fn contexts_beyond_the_first_get_the_long_factors() {
        let long = rope(RopeScaling::Long {
            short: vec![1.0, 1.0],
            long: vec![2.0, 3.0],
            original_max_position_embeddings: 4096.0,
            attention_factor: long_attention_factor(32.0, 4096.0),
        });
        for (context, expected) in [(4096, [1.0, 1.0]), (4097, [2.0, 3.0])] {
            let mut settled = long.clone();
            settled.settle(context, 4);
            let RopeScaling::Factors {
                factors,
                attention_factor,
            } = settled.scaling
            else {
                panic!("not settled");
            };
            assert_eq!(factors, expected);
            // Phi-3's: sqrt(1 + ln 32 / ln 4096).
            assert!((attention_factor - 1.190_238).abs() < 1e-6);
        }
    }

    #[test]
    fn a_dynamic_base_grows_with_the_context() {
        let dynamic = rope(RopeScaling::Dynamic {
            factor: 2.0,
            original_max_position_embeddings: 2048.0,
        });
        let theta = |context| {
            let mut settled = dynamic.clone();
            settled.settle(context, 64);
            assert_eq!(settled.scaling, RopeScaling::Default);
            settled.theta
        };
        assert_eq!(theta(2048), 10_000.0);
        // 10000 · (2 · 4096 / 2048 − 1) ^ (64 / 62)
        assert!((theta(4096) - 31_082.2).abs() < 1.0, "{}", theta(4096));
    }
}
