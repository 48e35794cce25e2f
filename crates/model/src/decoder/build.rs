//! Builds a decoder: which tensors make which layer.

use std::sync::Arc;

use matou_kernels::attention::AttentionParams;

use super::{Decoder, DecoderLayer, Network};
use crate::backend::{Backend, CacheShape, Experts};
use crate::config::{ModelConfig, RopeParameters};
use crate::error::Result;
use crate::families::Architecture;
use crate::language_model::ModelInfo;
use crate::layers::{
    Attention, Embedding, FeedForward, Linear, Mlp, RmsNorm, Rope, SparseMoe, StackedMoe,
};
use crate::loader::Loader;

impl<B: Backend> Decoder<B> {
    /// Loads the weights.
    pub(crate) fn load(
        backend: B,
        config: &ModelConfig,
        architecture: &Architecture,
        loader: &Loader<'_>,
    ) -> Result<Self> {
        let builder = Builder {
            backend: &backend,
            config,
            architecture,
            loader,
        };
        let shape = (config.vocab_size, config.hidden_size);
        let embedding = Embedding::load(&backend, loader, "model.embed_tokens", shape)?;
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
            embedding.tied_head(loader, "lm_head")
        } else {
            let module = ("lm_head".to_owned(), config.vocab_size);
            Linear::load(&backend, loader, &[module], config.hidden_size, false)?
        };
        let norm = builder.norm("model.norm")?;
        let ropes = rope_parameters
            .into_iter()
            .map(|parameters| Rope::new(&backend, parameters, config.head_dim))
            .collect::<Result<_>>()?;
        let heads = (config.num_attention_heads, config.num_key_value_heads);
        let build = |math| Arc::new(loader.take_linears().build(math, heads));
        let (_, experts) = architecture.experts.unwrap_or((0, 1));
        let qkv = (heads.0 + 2 * heads.1) * config.head_dim;
        Ok(Self {
            info: info(config, loader),
            cache_shape: CacheShape {
                layers: config.num_hidden_layers,
                num_blocks: 0,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
            },
            cache: None,
            targets: backend.adapter_math().map(build),
            widest: (2 * config.intermediate_size)
                .max(config.hidden_size)
                .saturating_mul(experts)
                .max(qkv),
            network: Network {
                backend,
                embedding,
                layers,
                norm,
                head: head.fine(),
                ropes,
                vocab_size: config.vocab_size,
                embedding_scale: architecture.embedding_scale,
                logit_scale: architecture.logit_scale,
                logit_softcap: architecture.logit_softcap,
            },
        })
    }
}

/// Builds layers out of the weights' names.
struct Builder<'a, B: Backend> {
    backend: &'a B,
    config: &'a ModelConfig,
    architecture: &'a Architecture,
    loader: &'a Loader<'a>,
}

impl<B: Backend> Builder<'_, B> {
    fn layer(&self, layer: usize, rope: Option<usize>) -> Result<DecoderLayer<B>> {
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
            residual_scale: self.architecture.residual_scale,
        })
    }

    fn attention(&self, layer: usize, prefix: &str, rope: Option<usize>) -> Result<Attention<B>> {
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
            let numbers = (config.rms_norm_eps, offset);
            RmsNorm::load(self.backend, self.loader, &module, head_dim, numbers)
        };
        let head_norms = match self.architecture.head_norms {
            true => Some((head_norm("q_norm")?, head_norm("k_norm")?)),
            false => None,
        };
        Ok(Attention {
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

    fn feed_forward(&self, prefix: &str) -> Result<FeedForward<B>> {
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
        let router = self.linear(&router, self.config.hidden_size, false)?;
        if let Some(experts) = self.stacked(&moe, experts, experts_per_token)? {
            return Ok(FeedForward::Stacked(StackedMoe { router, experts }));
        }
        let expert = |expert: usize| {
            let expert = format!("{moe}.experts.{expert}");
            let gate_up = vec![format!("{expert}.w1"), format!("{expert}.w3")];
            self.mlp(gate_up, format!("{expert}.w2"))
        };
        Ok(FeedForward::Sparse(SparseMoe {
            router,
            experts: (0..experts).map(expert).collect::<Result<_>>()?,
            experts_per_token,
        }))
    }

    /// The experts of `moe` in stacks, where the backend takes them so: those of one format.
    fn stacked(&self, moe: &str, experts: usize, per_token: usize) -> Result<Option<Experts<B>>> {
        let (hidden, intermediate) = (self.config.hidden_size, self.config.intermediate_size);
        let names = |parts: &[&str]| -> Vec<Vec<String>> {
            let of = |expert: usize| {
                let name = |part: &&str| format!("{moe}.experts.{expert}.{part}.weight");
                parts.iter().map(name).collect()
            };
            (0..experts).map(of).collect()
        };
        let is_uniform = |names: &[Vec<String>], rows, columns| -> Result<bool> {
            let format = |name: &String| self.loader.format(name, rows, columns);
            let formats = names.iter().flatten().map(format);
            let formats = formats.collect::<Result<Vec<_>>>()?;
            Ok(formats.iter().all(|format| *format == formats[0]))
        };
        let (down, gate_up) = (names(&["w2"]), names(&["w1", "w3"]));
        if !B::STACKS
            || self.architecture.mlp_bias
            || !is_uniform(&down, hidden, intermediate)?
            || !is_uniform(&gate_up, intermediate, hidden)?
        {
            return Ok(None);
        }
        let load = |names: &[Vec<String>], rows, columns| {
            self.backend.load_stack(self.loader, names, rows, columns)
        };
        let Some(down) = load(&down, hidden, intermediate)? else {
            return Ok(None);
        };
        let Some(gate_up) = load(&gate_up, intermediate, hidden)? else {
            return Ok(None);
        };
        Ok(Some(Experts {
            gate_up,
            down,
            intermediate_size: intermediate,
            activation: self.architecture.activation,
            per_token,
        }))
    }

    fn mlp(&self, gate_up: Vec<String>, down: String) -> Result<Mlp<B>> {
        let (hidden, intermediate) = (self.config.hidden_size, self.config.intermediate_size);
        let rows = 2 * intermediate / gate_up.len();
        let gate_up: Vec<_> = gate_up.into_iter().map(|module| (module, rows)).collect();
        let bias = self.architecture.mlp_bias;
        Ok(Mlp {
            gate_up: self.linear(&gate_up, hidden, bias)?,
            down: self.linear(&[(down, hidden)], intermediate, bias)?,
            intermediate_size: intermediate,
            activation: self.architecture.activation,
        })
    }

    fn linear(&self, modules: &[(String, usize)], columns: usize, bias: bool) -> Result<Linear<B>> {
        Linear::load(self.backend, self.loader, modules, columns, bias)
    }

    fn norm(&self, module: &str) -> Result<RmsNorm<B>> {
        let offset = self.architecture.norm_weight_offset;
        let (len, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        RmsNorm::load(self.backend, self.loader, module, len, (eps, offset))
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
