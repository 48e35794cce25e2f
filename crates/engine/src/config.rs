//! Limits an engine runs under.

use matou_model::{BLOCK_SIZE, KvCacheDtype, ModelError};
use thiserror::Error;

/// Limits of one engine, in vLLM's vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Longest context (prompt and answer together), in tokens.
    pub max_model_len: usize,
    /// Most sequences that run at the same time.
    pub max_num_seqs: usize,
    /// Token budget of one step, over all sequences.
    pub max_num_batched_tokens: usize,
    /// Blocks of [`BLOCK_SIZE`] tokens in the KV cache.
    pub num_kv_blocks: usize,
    /// Element type of the KV cache.
    pub kv_cache_dtype: KvCacheDtype,
    /// Most sequences that wait for their first step; [`submit`](crate::EngineHandle::submit) refuses
    /// what comes on top, unless its client has less than an equal share of it.
    pub max_queue_len: usize,
    /// How far a request's [`priority`](crate::GenerationRequest::priority) counts in either direction:
    /// so many places in the line.
    pub max_priority: i32,
    /// Whether computed blocks are kept for later requests that begin with the same tokens.
    pub enable_prefix_caching: bool,
    /// Most alternatives a request may ask for beside each log-probability.
    pub max_logprobs: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_model_len: 4096,
            max_num_seqs: 64,
            max_num_batched_tokens: 2048,
            num_kv_blocks: 1024,
            kv_cache_dtype: KvCacheDtype::default(),
            max_queue_len: 256,
            max_priority: 8,
            enable_prefix_caching: true,
            max_logprobs: 20,
        }
    }
}

impl EngineConfig {
    /// Checks that the limits are possible together.
    pub(crate) fn validate(&self) -> Result<(), EngineError> {
        let at_least_one = [
            ("max_model_len", self.max_model_len),
            ("max_num_seqs", self.max_num_seqs),
            ("num_kv_blocks", self.num_kv_blocks),
            ("max_queue_len", self.max_queue_len),
        ];
        if let Some((field, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(EngineError::InvalidConfig(format!(
                "{field} must be at least 1"
            )));
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(EngineError::InvalidConfig(format!(
                "max_num_batched_tokens ({}) must be at least max_num_seqs ({}), \
                 or running sequences could not all advance in a step",
                self.max_num_batched_tokens, self.max_num_seqs
            )));
        }
        if self.num_kv_blocks > u32::MAX as usize / BLOCK_SIZE {
            return Err(EngineError::InvalidConfig(format!(
                "num_kv_blocks ({}) is more than slots can be numbered for",
                self.num_kv_blocks
            )));
        }
        Ok(())
    }
}

/// Why an engine did not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The limits contradict each other.
    #[error("invalid engine configuration: {0}")]
    InvalidConfig(String),
    /// The model could not allocate its KV cache.
    #[error("the model cannot be prepared: {0}")]
    Model(#[from] ModelError),
    /// The operating system gave no thread.
    #[error("the engine thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_contradict_each_other_are_named() {
        EngineConfig::default().validate().unwrap();
        let rejected = |change: &dyn Fn(&mut EngineConfig)| {
            let mut config = EngineConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(rejected(&|config| config.max_model_len = 0).contains("max_model_len must be"));
        assert!(rejected(&|config| config.max_num_seqs = 0).contains("max_num_seqs must be"));
        assert!(rejected(&|config| config.num_kv_blocks = 0).contains("num_kv_blocks must be"));
        assert!(rejected(&|config| config.max_queue_len = 0).contains("max_queue_len must be"));
        let starved = rejected(&|config| config.max_num_batched_tokens = 63);
        assert!(starved.contains("max_num_batched_tokens (63) must be at least max_num_seqs (64)"));
        assert!(rejected(&|config| config.num_kv_blocks = 1 << 30).contains("more than slots"));
    }
}
