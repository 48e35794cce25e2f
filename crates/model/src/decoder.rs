//! The decoder that every family is an instance of.
//!
//! ```text
//! ids → embedding → ┌ layer ─────────────────────────────────────────┐ → norm → head → logits
//!                   │ residual ┬─ norm ─ attention ─ + ┬─ norm ─ feed-forward ─ + │
//!                   └──────────┴───────────────────────┴──────────────────────────┘
//! ```
//!
//! A layer hands on its residual stream and what is still to be added to it, so that the addition
//! and the next norm are one operation.

use candle_core::{DType, Tensor};
use matou_kernels::activation::scale;
use matou_kernels::attention::{AttentionParams, KvDtype, KvPool};

use crate::attention::{AttentionBackend, CacheShape, CpuBackend, TensorBackend};
use crate::compute::{Compute, into_vec, read, write};
use crate::config::{ModelConfig, RopeParameters};
use crate::error::{ModelError, Result};
use crate::families::Architecture;
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch, Logits};
use crate::language_model::{KvCacheDtype, LanguageModel, ModelInfo};
use crate::layers::{
    Attention, Embedding, FeedForward, Linear, Mlp, RmsNorm, Rope, SparseMoe, Step,
};
use crate::loader::Loader;

/// A decoder with its weights, and its cache once that is allocated.
pub(crate) struct Decoder {
    info: ModelInfo,
    compute: Compute,
    embedding: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    head: Linear,
    /// One for each set of parameters that layers have.
    ropes: Vec<Rope>,
    cache: CacheShape,
    backend: Option<Box<dyn AttentionBackend>>,
    embedding_scale: f32,
    logit_scale: f32,
    logit_softcap: Option<f32>,
}

struct DecoderLayer {
    input_norm: RmsNorm,
    attention: Attention,
    attention_output_norm: Option<RmsNorm>,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
    feed_forward_output_norm: Option<RmsNorm>,
    compute: Compute,
    residual_scale: f32,
}

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
            embedding.tied_head()?
        } else {
            let module = ("lm_head".to_owned(), config.vocab_size);
            Linear::load(loader, &[module], config.hidden_size, false)?
        };
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
            embedding_scale: architecture.embedding_scale,
            logit_scale: architecture.logit_scale,
            logit_softcap: architecture.logit_softcap,
        })
    }

    /// Norm and head of the rows whose logits are wanted.
    fn logits(&self, residual: Tensor, delta: Tensor, rows: &[u32]) -> Result<Logits> {
        if rows.is_empty() {
            return Ok(Logits::new(Vec::new(), self.info.vocab_size));
        }
        let residual = select_rows(&self.compute, residual, rows)?;
        let delta = select_rows(&self.compute, delta, rows)?;
        let (_, hidden) = self.norm.add_forward(residual, delta)?;
        let logits = self.head.forward(&hidden)?;
        let mut values = match &self.compute {
            Compute::Kernels(_) => into_vec(&logits)?,
            Compute::Candle { .. } => logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?,
        };
        if self.logit_scale != 1.0 {
            values
                .iter_mut()
                .for_each(|logit| *logit *= self.logit_scale);
        }
        if let Some(cap) = self.logit_softcap {
            values
                .iter_mut()
                .for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        Ok(Logits::new(values, self.info.vocab_size))
    }
}

impl LanguageModel for Decoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        let CacheShape {
            layers,
            kv_heads,
            head_dim,
            ..
        } = self.cache;
        let layer_bytes = match &self.compute {
            Compute::Kernels(_) => KvPool::bytes(1, kv_heads, head_dim, kernel_type(dtype)),
            Compute::Candle { .. } => {
                2 * BLOCK_SIZE * kv_heads * head_dim * tensor_type(dtype).size_in_bytes()
            }
        };
        layers * layer_bytes
    }

    fn allocate_kv_cache(&mut self, num_blocks: usize, dtype: KvCacheDtype) -> Result<()> {
        // The old cache goes first: two would not always fit.
        self.backend = None;
        let shape = CacheShape {
            num_blocks,
            ..self.cache
        };
        self.backend = Some(match &self.compute {
            Compute::Kernels(cpu) => {
                Box::new(CpuBackend::new(cpu.clone(), shape, kernel_type(dtype))?)
            }
            Compute::Candle { device, .. } => {
                let backend = TensorBackend::new(device, shape, tensor_type(dtype))
                    .map_err(|error| ModelError::KvCache(error.to_string()))?;
                Box::new(backend)
            }
        });
        Ok(())
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits> {
        let Some(backend) = &mut self.backend else {
            return Err(ModelError::KvCache("there is none yet".to_owned()));
        };
        batch.validate(self.info.vocab_size, backend.num_blocks())?;
        backend.begin_step(batch)?;
        for rope in &mut self.ropes {
            rope.begin_step(&batch.positions)?;
        }
        let mut step = Step {
            batch,
            ropes: &self.ropes,
            backend: backend.as_mut(),
        };
        let embeddings = self.embedding.forward(&batch.input_ids)?;
        let mut residual = scaled(&self.compute, embeddings, self.embedding_scale)?;
        let mut delta = None;
        for layer in &self.layers {
            let (stream, to_add) = layer.forward(residual, delta, &mut step)?;
            residual = stream;
            delta = Some(to_add);
        }
        match delta {
            Some(delta) => self.logits(residual, delta, &batch.logits_indices),
            None => Err(ModelError::Forward("the model has no layers".to_owned())),
        }
    }
}

impl DecoderLayer {
    /// Takes the residual stream and what is to be added to it, and gives the same. Both arguments
    /// are used up.
    fn forward(
        &self,
        residual: Tensor,
        delta: Option<Tensor>,
        step: &mut Step<'_>,
    ) -> Result<(Tensor, Tensor)> {
        let (residual, x) = match delta {
            Some(delta) => self.input_norm.add_forward(residual, delta)?,
            None => {
                let x = self.input_norm.forward(&residual)?;
                (residual, x)
            }
        };
        let x = self.attention.forward(x, step)?;
        let x = self.output(x, self.attention_output_norm.as_ref())?;
        let (residual, x) = self.feed_forward_norm.add_forward(residual, x)?;
        let x = self.feed_forward.forward(x)?;
        let x = self.output(x, self.feed_forward_output_norm.as_ref())?;
        Ok((residual, x))
    }

    fn output(&self, x: Tensor, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let x = match norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        scaled(&self.compute, x, self.residual_scale)
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
        bos_token_id: config.bos_token_id,
        eos_token_ids: config.eos_token_ids.clone(),
    }
}

fn kernel_type(dtype: KvCacheDtype) -> KvDtype {
    match dtype {
        KvCacheDtype::F32 => KvDtype::F32,
        KvCacheDtype::F16 => KvDtype::F16,
    }
}

fn tensor_type(dtype: KvCacheDtype) -> DType {
    match dtype {
        KvCacheDtype::F32 => DType::F32,
        KvCacheDtype::F16 => DType::F16,
    }
}

/// Multiplies by a factor, which is one in most models.
fn scaled(compute: &Compute, x: Tensor, factor: f32) -> Result<Tensor> {
    if factor == 1.0 {
        return Ok(x);
    }
    match compute {
        Compute::Kernels(cpu) => {
            write(&x, |x| scale(&cpu.context, x, factor))?;
            Ok(x)
        }
        Compute::Candle { .. } => Ok((x * f64::from(factor))?),
    }
}

/// Some rows of `[tokens, features]`, which is used up.
fn select_rows(compute: &Compute, x: Tensor, rows: &[u32]) -> Result<Tensor> {
    if rows.len() == x.dim(0)? {
        return Ok(x);
    }
    let Compute::Kernels(cpu) = compute else {
        return Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?);
    };
    let columns = x.dim(1)?;
    let selected = cpu.produce((rows.len(), columns), |out| {
        read(&x, |x| {
            for (&row, out) in rows.iter().zip(out.chunks_exact_mut(columns)) {
                out.copy_from_slice(&x[row as usize * columns..][..columns]);
            }
        })
    })?;
    cpu.recycle(x)?;
    Ok(selected)
}
