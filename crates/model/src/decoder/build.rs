//! Builds a decoder: which tensors make which layer.

use std::sync::Arc;

use matou_kernels::attention::AttentionParams;

use super::{Decoder, DecoderLayer};
use crate::attention::CacheShape;
use crate::config::{ModelConfig, RopeParameters};
use crate::error::Result;
use crate::families::Architecture;
use crate::language_model::ModelInfo;
use crate::layers::{Attention, Embedding, FeedForward, Linear, Mlp, RmsNorm, Rope, SparseMoe};
use crate::loader::Loader;

impl Decoder {
    /// Loads the weights.
    pub(crate) fn load(
        config: &ModelConfig,
        architecture: &Architecture,
        loader: &Loader<'_>,
    ) -> Result<Self> {
        let builder = Builder {
            config,
            architecture,
            loader,
        };
        let embedding = Embedding::load(
            loader,
            "model.embed_tokens",
            config.vocab_size,
            config.hidden_size,
        )?;
        let mut rope_parameters: Vec<&RopeParameters> = Vec::new();
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let rope = config.layer_rope(layer).map(|parameters| {
                let known = rope_parameters
                    .iter()
                    .position(|&known| known == parameters);
                known.unwrap_or_else(|| {
                    rope_parameters.push(parameters);
                    rope_parameters.len() - 1
                })
            });
            layers.push(builder.layer(layer, rope)?);
        }
        let head = if config.tie_word_embeddings {
            embedding.tied_head(loader, "lm_head")?
        } else {
            let module = ("lm_head".to_owned(), config.vocab_size);
            Linear::load(loader, &[module], config.hidden_size, false)?
        };
        let head = head.with_split_input();
        let norm = builder.norm("model.norm")?;
        let ropes = rope_parameters
            .into_iter()
            .map(|parameters| Rope::new(loader.compute(), parameters, config.head_dim))
            .collect::<Result<_>>()?;
        Ok(Self {
            info: info(config, loader),
            compute: loader.compute().clone(),
            embedding,
            layers,
            norm,
            head,
            ropes,
            cache: CacheShape {
                layers: config.num_hidden_layers,
                num_blocks: 0,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
            },
            backend: None,
            targets: Arc::new(loader.take_linears().build(
                loader.compute().clone(),
                (config.num_attention_heads, config.num_key_value_heads),
            )),
            embedding_scale: architecture.embedding_scale,
            logit_scale: architecture.logit_scale,
            logit_softcap: architecture.logit_softcap,
        })
    }
}

/// Builds layers out of the weights' names.
struct Builder<'a> {
    config: &'a ModelConfig,
    architecture: &'a Architecture,
    loader: &'a Loader<'a>,
}

impl Builder<'_> {
    fn layer(&self, layer: usize, rope: Option<usize>) -> Result<DecoderLayer> {
        let prefix = format!("model.layers.{layer}");
        let norm = |name: &str| self.norm(&format!("{prefix}.{name}"));
        // With output norms, Llama's name for the second input norm is that of an output norm.
        let (feed_forward_norm, attention_output_norm, feed_forward_output_norm) =
            if self.architecture.output_norms {
                (
                    norm("pre_feedforward_layernorm")?,
                    Some(norm("post_attention_layernorm")?),
                    Some(norm("post_feedforward_layernorm")?),
                )
            } else {
                (norm("post_attention_layernorm")?, None, None)
            };
        Ok(DecoderLayer {
            input_norm: norm("input_layernorm")?,
            attention: self.attention(layer, &format!("{prefix}.self_attn"), rope)?,
            attention_output_norm,
            feed_forward_norm,
            feed_forward: self.feed_forward(&prefix)?,
            feed_forward_output_norm,
            compute: self.loader.compute().clone(),
            residual_scale: self.architecture.residual_scale,
        })
    }

    fn attention(&self, layer: usize, prefix: &str, rope: Option<usize>) -> Result<Attention> {
        let config = self.config;
        let (heads, kv_heads, head_dim) = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        );
        let (query_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let projections = if self.architecture.fused_projections {
            vec![(format!("{prefix}.qkv_proj"), query_width + 2 * kv_width)]
        } else {
            vec![
                (format!("{prefix}.q_proj"), query_width),
                (format!("{prefix}.k_proj"), kv_width),
                (format!("{prefix}.v_proj"), kv_width),
            ]
        };
        let output = [(format!("{prefix}.o_proj"), config.hidden_size)];
        let head_norm = |name: &str| {
            let module = format!("{prefix}.{name}");
            let offset = self.architecture.norm_weight_offset;
            RmsNorm::load(self.loader, &module, head_dim, config.rms_norm_eps, offset)
        };
        let head_norms = match self.architecture.head_norms {
            true => Some((head_norm("q_norm")?, head_norm("k_norm")?)),
            false => None,
        };
        Ok(Attention {
            compute: self.loader.compute().clone(),
            layer,
            qkv: self.linear(&projections, config.hidden_size, self.architecture.qkv_bias)?,
            output: self.linear(&output, query_width, self.architecture.output_bias)?,
            head_norms,
            rope,
            params: AttentionParams {
                heads,
                kv_heads,
                head_dim,
                scale: self.architecture.attention_scale,
                sliding_window: config.layer_window(layer),
                softcap: self.architecture.attention_softcap,
            },
        })
    }

    fn feed_forward(&self, prefix: &str) -> Result<FeedForward> {
        let Some((experts, experts_per_token)) = self.architecture.experts else {
            let mlp = format!("{prefix}.mlp");
            let gate_up = if self.architecture.fused_projections {
                vec![format!("{mlp}.gate_up_proj")]
            } else {
                vec![format!("{mlp}.gate_proj"), format!("{mlp}.up_proj")]
            };
            return Ok(FeedForward::Dense(
                self.mlp(gate_up, format!("{mlp}.down_proj"))?,
            ));
        };
        let moe = format!("{prefix}.block_sparse_moe");
        let router = [(format!("{moe}.gate"), experts)];
        let expert = |expert: usize| {
            let expert = format!("{moe}.experts.{expert}");
            let gate_up = vec![format!("{expert}.w1"), format!("{expert}.w3")];
            self.mlp(gate_up, format!("{expert}.w2"))
        };
        Ok(FeedForward::Sparse(SparseMoe::new(
            self.loader.compute().clone(),
            self.linear(&router, self.config.hidden_size, false)?,
            (0..experts).map(expert).collect::<Result<_>>()?,
            experts_per_token,
        )))
    }

    fn mlp(&self, gate_up: Vec<String>, down: String) -> Result<Mlp> {
        let (hidden, intermediate) = (self.config.hidden_size, self.config.intermediate_size);
        let rows = 2 * intermediate / gate_up.len();
        let gate_up: Vec<_> = gate_up.into_iter().map(|module| (module, rows)).collect();
        let bias = self.architecture.mlp_bias;
        Ok(Mlp::new(
            self.loader,
            self.linear(&gate_up, hidden, bias)?,
            self.linear(&[(down, hidden)], intermediate, bias)?,
            intermediate,
            self.architecture.activation,
        ))
    }

    fn linear(&self, modules: &[(String, usize)], columns: usize, bias: bool) -> Result<Linear> {
        Linear::load(self.loader, modules, columns, bias)
    }

    fn norm(&self, module: &str) -> Result<RmsNorm> {
        let offset = self.architecture.norm_weight_offset;
        let (len, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        RmsNorm::load(self.loader, module, len, eps, offset)
    }
}

fn info(config: &ModelConfig, loader: &Loader<'_>) -> ModelInfo {
    let tally = loader.tally();
    let all_slide = (0..config.num_hidden_layers).all(|layer| config.layer_window(layer).is_some());
    ModelInfo {
        architecture: config.architecture.clone(),
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_layers: config.num_hidden_layers,
        max_position_embeddings: config.max_position_embeddings,
        sliding_window: config.sliding_window.filter(|_| all_slide),
        parameters: tally.parameters,
        weight_bytes: tally.memory_bytes,
        quantization: tally.main_format().to_owned(),
    }
}
