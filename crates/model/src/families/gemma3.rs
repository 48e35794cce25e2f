//! Gemma 3, its text part: norms on both sides of attention and of the feed-forward part and on
//! each head, embeddings scaled by the root of their width, gelu, and a window on most layers.

use super::{Architecture, llama};
use crate::config::ModelConfig;
use crate::error::Result;

pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    let llama = llama::architecture(config)?;
    let attention_scale = config
        .query_pre_attn_scalar
        .map(|scalar| 1.0 / scalar.sqrt());
    Ok(Architecture {
        head_norms: true,
        output_norms: true,
        norm_weight_offset: if config.norm_weights_include_one {
            0.0
        } else {
            1.0
        },
        embedding_scale: (config.hidden_size as f32).sqrt(),
        attention_scale: attention_scale.unwrap_or(llama.attention_scale),
        attention_softcap: config.attn_logit_softcapping,
        logit_softcap: config.final_logit_softcapping,
        ..llama
    })
}
