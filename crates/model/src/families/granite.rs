//! Granite 3: Llama with factors on the embeddings, the attention scores, what the layers add, and
//! the logits.

use super::{Architecture, llama};
use crate::config::ModelConfig;
use crate::error::Result;

pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    let llama = llama::architecture(config)?;
    Ok(Architecture {
        embedding_scale: config.embedding_multiplier.unwrap_or(1.0),
        residual_scale: config.residual_multiplier.unwrap_or(1.0),
        attention_scale: config.attention_multiplier.unwrap_or(llama.attention_scale),
        // The config has what the logits are divided by.
        logit_scale: 1.0 / config.logits_scaling.unwrap_or(1.0),
        ..llama
    })
}
