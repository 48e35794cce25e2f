//! The shape and the constants of a decoder, wherever they were read.

use std::path::Path;

use super::rope::{RopeParameters, RopeScaling};
use crate::error::{Result, invalid_config};

/// Larger than any published model by a factor of ten or more; what exceeds it is a corrupt
/// number, and below it no product of two overflows.
pub(super) const MAX_SIZE: usize = 1 << 24;

/// The shape and the constants of a decoder.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelConfig {
    /// Entry of `architectures`, or `general.architecture`.
    pub(crate) architecture: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) num_key_value_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) rms_norm_eps: f32,
    /// True where a family that adds one to its norm weights (Gemma) has that done in the file.
    pub(crate) norm_weights_include_one: bool,
    pub(crate) tie_word_embeddings: bool,
    pub(crate) hidden_act: String,
    pub(crate) attention_bias: bool,
    pub(crate) mlp_bias: bool,
    /// Window of the layers that slide.
    pub(crate) sliding_window: Option<usize>,
    /// For each layer, whether it slides; empty if all layers are alike.
    pub(crate) sliding_layers: Vec<bool>,
    /// For each layer, whether it rotates queries and keys; empty if all do.
    pub(crate) rope_layers: Vec<bool>,
    pub(crate) rope: RopeParameters,
    /// Rope of the layers that slide, where it differs.
    pub(crate) sliding_rope: Option<RopeParameters>,
    pub(crate) num_local_experts: usize,
    pub(crate) num_experts_per_tok: usize,
    pub(crate) embedding_multiplier: Option<f32>,
    pub(crate) attention_multiplier: Option<f32>,
    pub(crate) residual_multiplier: Option<f32>,
    pub(crate) logits_scaling: Option<f32>,
    pub(crate) query_pre_attn_scalar: Option<f32>,
    pub(crate) attn_logit_softcapping: Option<f32>,
    pub(crate) final_logit_softcapping: Option<f32>,
}

impl ModelConfig {
    /// Settles what depends on the longest context there will be: as stated, or the model's own.
    pub(crate) fn settle_context(&mut self, stated: Option<usize>) {
        // Those with a dynamic base reach further, if somebody asks for it.
        if let RopeScaling::Dynamic {
            factor,
            original_max_position_embeddings,
        } = self.rope.scaling
        {
            let reach = (factor * original_max_position_embeddings) as usize;
            let stated = stated.unwrap_or(0).min(reach);
            self.max_position_embeddings = self.max_position_embeddings.max(stated);
        }
        let own = self.max_position_embeddings;
        let context = stated.map_or(own, |stated| stated.min(own));
        for rope in std::iter::once(&mut self.rope).chain(&mut self.sliding_rope) {
            rope.settle(context, self.head_dim);
        }
    }

    /// Window of one layer.
    pub(crate) fn layer_window(&self, layer: usize) -> Option<usize> {
        let slides = self.sliding_layers.get(layer).copied().unwrap_or(true);
        self.sliding_window.filter(|_| slides)
    }

    /// Rope of one layer; `None` if it has none.
    pub(crate) fn layer_rope(&self, layer: usize) -> Option<&RopeParameters> {
        if !self.rope_layers.get(layer).copied().unwrap_or(true) {
            return None;
        }
        match &self.sliding_rope {
            Some(sliding) if self.layer_window(layer).is_some() => Some(sliding),
            _ => Some(&self.rope),
        }
    }

    /// Rejects what no model has, so that the rest of the crate can compute with these numbers.
    pub(super) fn validate(self, path: &Path) -> Result<Self> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (field, size) in sizes {
            if size == 0 || size > MAX_SIZE {
                return Err(invalid_config(
                    path,
                    field,
                    format!("is {size}, not a size from 1 to {MAX_SIZE}"),
                ));
            }
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return Err(invalid_config(
                path,
                "num_key_value_heads",
                format!(
                    "is {}, which does not divide the {} attention heads",
                    self.num_key_value_heads, self.num_attention_heads
                ),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(invalid_config(
                path,
                "head_dim",
                format!("is {}, an odd number", self.head_dim),
            ));
        }
        if self.sliding_window == Some(0) {
            return Err(invalid_config(path, "sliding_window", "is 0".to_owned()));
        }
        let experts = self.num_local_experts;
        if experts > MAX_SIZE || (experts > 0 && !(1..=experts).contains(&self.num_experts_per_tok))
        {
            return Err(invalid_config(
                path,
                "num_experts_per_tok",
                format!("is {} of {experts} experts", self.num_experts_per_tok),
            ));
        }
        for (field, flags) in [
            ("layer_types", &self.sliding_layers),
            ("no_rope_layers", &self.rope_layers),
        ] {
            if !flags.is_empty() && flags.len() != self.num_hidden_layers {
                return Err(invalid_config(
                    path,
                    field,
                    format!(
                        "has {} entries for {} layers",
                        flags.len(),
                        self.num_hidden_layers
                    ),
                ));
            }
        }
        for rope in std::iter::once(&self.rope).chain(&self.sliding_rope) {
            rope.validate(path, self.head_dim)?;
        }
        Ok(self)
    }
}
