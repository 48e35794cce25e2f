//! Llama 1 to 3.3 and all that is built like it: TinyLlama, SmolLM, Yi, the distilled and fine-tuned
//! ones. Where Mistral, Ministral and SmolLM3 differ (windows, scaling of rope, layers without it)
//! is in numbers that every config can have, and so not here.

use super::{Architecture, activation};
use crate::config::ModelConfig;
use crate::error::Result;

/// The plain decoder, from which the other families start.
pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    Ok(Architecture {
        qkv_bias: config.attention_bias,
        output_bias: config.attention_bias,
        mlp_bias: config.mlp_bias,
        fused_projections: false,
        head_norms: false,
        output_norms: false,
        norm_weight_offset: 0.0,
        activation: activation(config)?,
        experts: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        attention_scale: 1.0 / (config.head_dim as f32).sqrt(),
        attention_softcap: None,
        logit_scale: 1.0,
        logit_softcap: None,
    })
}
