//! Phi-3 and Phi-4: Llama with its projections fused in the files.

use super::{Architecture, llama};
use crate::config::ModelConfig;
use crate::error::Result;

pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    Ok(Architecture {
        fused_projections: true,
        ..llama::architecture(config)?
    })
}
