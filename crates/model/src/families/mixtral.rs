//! Mixtral: Mistral with sparse experts for its feed-forward part.

use super::{Architecture, llama};
use crate::config::ModelConfig;
use crate::error::Result;

pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    Ok(Architecture {
        experts: Some((config.num_local_experts, config.num_experts_per_tok)),
        ..llama::architecture(config)?
    })
}
