//! What a model is and what it will take, from its headers alone.

use std::collections::BTreeMap;

use matou_gpu::KvCache;
use matou_kernels::{KvPool, PackedMatrix};

use crate::backend::kernel_type;
use crate::config::{ModelConfig, RopeScaling};
use crate::device::{DeviceChoice, open};
use crate::error::{ModelError, Result};
use crate::language_model::KvCacheDtype;
use crate::quantize::TargetFormats;
use crate::weights::TensorSource;

/// A model as its files describe it, before any weight is read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelSummary {
    /// Architecture name as the weights state it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights on disk.
    pub file_bytes: u64,
    /// Memory that the weights will take with the options asked for.
    pub weight_bytes: u64,
    /// What people call the format of the weights, such as `Q4_K_M`.
    pub quantization: String,
    /// Weights by the format that they will have in memory, most first.
    pub formats: Vec<(String, u64)>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Heads of queries.
    pub num_heads: usize,
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Experts in all and for each token, if the feed-forward part is sparse.
    pub experts: Option<(usize, usize)>,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Window of the layers that slide, and how many do.
    pub sliding_window: Option<(usize, usize)>,
    /// How positions are encoded, in words.
    pub rope: String,
}

impl ModelSummary {
    /// What tensors as their headers describe them, converted to `target`, will take.
    pub(crate) fn new(
        config: &ModelConfig,
        source: &dyn TensorSource,
        target: &TargetFormats,
    ) -> Result<Self> {
        let mut summary = Self::of_config(config);
        summary.file_bytes = source.total_bytes();
        let mut formats: BTreeMap<&str, u64> = BTreeMap::new();
        let weights = source.tensors()?.into_iter();
        for tensor in weights.filter(|tensor| !is_rope_table(&tensor.name)) {
            let too_large = || ModelError::Pack {
                name: tensor.name.clone(),
                message: format!("shape {:?} cannot be {}", tensor.shape, tensor.format),
            };
            let (&columns, rows) = tensor.shape.split_last().unwrap_or((&1, &[]));
            let rows = rows
                .iter()
                .try_fold(1usize, |rows, &size| rows.checked_mul(size))
                .ok_or_else(too_large)?;
            let weights = rows.checked_mul(columns).ok_or_else(too_large)? as u64;
            summary.parameters += weights;
            if tensor.shape.len() < 2 {
                summary.weight_bytes += 4 * weights;
                continue;
            }
            let format = target.format_of(&tensor.name, tensor.format, tensor.packed_as, columns);
            let bytes = PackedMatrix::packed_bytes(format, rows, columns).ok_or_else(too_large)?;
            summary.weight_bytes += bytes as u64;
            *formats.entry(format.name()).or_default() += weights;
        }
        summary.formats = formats
            .into_iter()
            .map(|(format, weights)| (format.to_owned(), weights))
            .collect();
        summary
            .formats
            .sort_by_key(|(_, weights)| u64::MAX - weights);
        Ok(summary)
    }

    /// Bytes that a block of [`BLOCK_SIZE`](crate::BLOCK_SIZE) tokens takes in the KV cache of the
    /// CPU over all layers.
    pub fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        let layer = KvPool::bytes(1, self.num_kv_heads, self.head_dim, kernel_type(dtype));
        layer.saturating_mul(self.num_layers)
    }

    /// Whether there are kernels for its heads on GPUs, with such a cache.
    pub fn runs_on_gpus(&self, dtype: KvCacheDtype) -> bool {
        let dtype = kernel_type(dtype);
        KvCache::block_bytes(self.num_kv_heads, self.head_dim, dtype).is_ok()
    }

    /// The most blocks that a KV cache can have, where the device bounds that, whatever is free.
    pub fn max_kv_blocks(&self, device: DeviceChoice, dtype: KvCacheDtype) -> Option<usize> {
        let DeviceChoice::Gpu(index) = device else {
            return None;
        };
        let device = open(index.unwrap_or(0)).ok()?;
        let dtype = kernel_type(dtype);
        KvCache::max_blocks(&device, self.num_kv_heads, self.head_dim, dtype).ok()
    }

    fn of_config(config: &ModelConfig) -> Self {
        let layers = 0..config.num_hidden_layers;
        let sliding = layers.filter(|&layer| config.layer_window(layer).is_some());
        let sliding = sliding.count();
        let window = config.sliding_window.filter(|_| sliding > 0);
        let experts = (config.num_local_experts, config.num_experts_per_tok);
        Self {
            architecture: config.architecture.clone(),
            parameters: 0,
            file_bytes: 0,
            weight_bytes: 0,
            quantization: String::new(),
            formats: Vec::new(),
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_layers: config.num_hidden_layers,
            num_heads: config.num_attention_heads,
            num_kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            experts: Some(experts).filter(|(all, _)| *all > 0),
            max_position_embeddings: config.max_position_embeddings,
            sliding_window: window.map(|window| (window, sliding)),
            rope: rope_in_words(config),
        }
    }
}

/// Frequencies that some files carry along: no weights.
fn is_rope_table(name: &str) -> bool {
    name.starts_with("rope_") || name.contains("rotary_emb")
}

fn rope_in_words(config: &ModelConfig) -> String {
    let scaling = match &config.rope.scaling {
        RopeScaling::Default => String::new(),
        RopeScaling::Linear { factor } => format!(", linear scaling by {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!(", Llama 3 scaling by {factor}"),
        RopeScaling::Yarn { factor, .. } => format!(", yarn scaling by {factor}"),
        RopeScaling::Factors { .. } => ", a factor for each frequency".to_owned(),
        RopeScaling::Long { .. } => ", longrope".to_owned(),
        RopeScaling::Dynamic { factor, .. } => format!(", dynamic scaling by {factor}"),
    };
    format!("base {}{scaling}", config.rope.theta)
}
