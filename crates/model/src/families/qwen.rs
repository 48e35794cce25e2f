//! Qwen 2, 2.5 and 3: Llama with biases on the queries, keys and values (2), or with norms of each
//! head's queries and keys (3).

use super::{Architecture, llama};
use crate::config::ModelConfig;
use crate::error::Result;

/// Qwen 2 and 2.5.
pub(crate) fn qwen2(config: &ModelConfig) -> Result<Architecture> {
    Ok(Architecture {
        qkv_bias: true,
        output_bias: false,
        ..llama::architecture(config)?
    })
}

/// Qwen 3.
pub(crate) fn qwen3(config: &ModelConfig) -> Result<Architecture> {
    Ok(Architecture {
        head_norms: true,
        ..llama::architecture(config)?
    })
}
