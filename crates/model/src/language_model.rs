//! The one trait between the engine and whatever computes logits.

use std::sync::Arc;

use matou_kernels::{Isa, ThreadPool};

use crate::adapter::AdapterTargets;
use crate::cost::{Roofs, TokenCost};
use crate::error::ModelError;
use crate::forward_batch::{ForwardBatch, Logits};

/// Element type of the KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvCacheDtype {
    /// 32-bit floats: exact.
    F32,
    /// 16-bit floats: half the memory.
    #[default]
    F16,
    /// 8-bit integers with a scale for each 32: a little over a quarter.
    Q8,
}

/// What a loaded model is, for admission, logs and `/v1/models`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelInfo {
    /// Architecture name as the weights state it, such as `llama`.
    pub architecture: String,
    /// Tokens in the vocabulary: the width of a row of logits.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Positions a token can see, itself included. `Some` only if every layer slides.
    pub sliding_window: Option<usize>,
    /// Number of weights.
    pub parameters: u64,
    /// Memory the weights take, in bytes.
    pub weight_bytes: u64,
    /// What people call the format of the weights, such as `Q4_K_M`, `GPTQ` or `BF16`.
    pub quantization: String,
}

/// A decoder that runs ragged batches over a paged KV cache which it owns.
///
/// A row of logits depends only on its own request's tokens: not on batch-mates, chunk boundaries
/// or the blocks that happen to hold the context.
pub trait LanguageModel: Send {
    /// What this model is.
    fn info(&self) -> &ModelInfo;

    /// The instruction set for what is computed from this model's logits: that of its own kernels,
    /// where it has any.
    fn isa(&self) -> Isa {
        Isa::detect()
    }

    /// The threads of this model, which are idle between two steps: for what is computed from its
    /// logits. `None` where it has none.
    fn thread_pool(&self) -> Option<&ThreadPool> {
        None
    }

    /// Bytes a block of [`BLOCK_SIZE`](crate::BLOCK_SIZE) tokens takes over all layers.
    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize;

    /// The most blocks that a cache can have, where the device bounds that.
    fn max_kv_blocks(&self, _dtype: KvCacheDtype) -> Option<usize> {
        None
    }

    /// The most tokens of a step, where the device bounds that.
    fn max_step_tokens(&self) -> Option<usize> {
        None
    }

    /// What a token costs in products with weights, if that is known.
    fn token_cost(&self) -> Option<TokenCost> {
        None
    }

    /// Measures what the machine can do at most, with this model's threads; `None` where only the
    /// device itself could tell.
    fn measure_roofs(&self) -> Option<Roofs> {
        None
    }

    /// What adapters can be loaded for; `None` where there can be none.
    fn adapter_targets(&self) -> Option<Arc<AdapterTargets>> {
        None
    }

    /// Whether what it computes on has gone: no step will succeed any more, and the model is to be loaded
    /// again.
    fn is_lost(&self) -> bool {
        false
    }

    /// (Re)allocates the KV cache. Called before the first [`forward`](Self::forward).
    ///
    /// # Errors
    ///
    /// When the memory cannot be had or the element type is not supported.
    fn allocate_kv_cache(
        &mut self,
        num_blocks: usize,
        dtype: KvCacheDtype,
    ) -> Result<(), ModelError>;

    /// Runs one step: writes keys and values of all tokens by slot, and returns the logits of the
    /// rows asked for.
    ///
    /// # Errors
    ///
    /// When the step fails; the model stays usable, the requests of the batch do not.
    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError>;
}
