//! The decoder that every family is an instance of.
//!
//! ```text
//!                   ┌─ each layer ────────────────────────────────────────────┐
//! ids ─ embedding ──┼─┬────────────────────── + ─┬───────────────────────── + ┼─ norm ─ head ─ logits
//!                   │ └─ norm ── attention ───┘  └─ norm ── feed-forward ───┘ │
//!                   └─────────────────────────────────────────────────────────┘
//! ```
//!
//! A layer hands on its residual stream and what is still to be added to it, so that the addition
//! and the next norm are one operation.

mod build;

use std::borrow::Cow;
use std::sync::Arc;

use matou_kernels::{Isa, ThreadPool};

use crate::adapter::{AdapterRows, AdapterTargets};
use crate::backend::{Backend, CacheShape};
use crate::cost::{Roofs, TokenCost};
use crate::error::{ModelError, Result};
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch, Logits};
use crate::language_model::{KvCacheDtype, LanguageModel, ModelInfo};
use crate::layers::{Attention, Embedding, FeedForward, Linear, RmsNorm, Rope, Step};

/// A decoder, and its cache once that is allocated.
pub(crate) struct Decoder<B: Backend> {
    info: ModelInfo,
    network: Network<B>,
    /// Without blocks, or with those of the cache that there is.
    cache_shape: CacheShape,
    cache: Option<B::Cache>,
    /// `None` where there can be no adapters.
    targets: Option<Arc<AdapterTargets>>,
    /// Columns of the widest activations of a step.
    widest: usize,
}

/// What a step computes with, but for the cache.
struct Network<B: Backend> {
    backend: B,
    embedding: Embedding<B>,
    layers: Vec<DecoderLayer<B>>,
    norm: RmsNorm<B>,
    head: Linear<B>,
    /// One for each set of parameters that layers have.
    ropes: Vec<Rope<B>>,
    vocab_size: usize,
    embedding_scale: f32,
    logit_scale: f32,
    logit_softcap: Option<f32>,
}

struct DecoderLayer<B: Backend> {
    input_norm: RmsNorm<B>,
    attention: Attention<B>,
    attention_output_norm: Option<RmsNorm<B>>,
    feed_forward_norm: RmsNorm<B>,
    feed_forward: FeedForward<B>,
    feed_forward_output_norm: Option<RmsNorm<B>>,
    residual_scale: f32,
}

impl<B: Backend> Decoder<B> {
    /// Changes what the format of the weights is called.
    pub(crate) fn set_quantization(&mut self, name: String) {
        self.info.quantization = name;
    }
}

impl<B: Backend> Network<B> {
    /// Runs one step over a cache.
    fn step(&mut self, cache: &mut B::Cache, batch: &ForwardBatch) -> Result<Logits> {
        let backend = self.backend.clone();
        let mut adapters = AdapterRows::of(batch);
        backend.begin_step(cache, batch)?;
        for rope in &mut self.ropes {
            rope.begin_step(&backend, &batch.positions)?;
        }
        let mut residual = self.embedding.forward(&backend, &batch.input_ids)?;
        scale(&backend, &mut residual, self.embedding_scale)?;
        let mut delta = None;
        let rows = wanted_rows(batch);
        for (layer, index) in self.layers.iter().zip(1..) {
            let mut step = Step {
                backend: &backend,
                batch,
                adapters: &adapters,
                ropes: &self.ropes,
                cache,
            };
            let mut attended = layer.attend(&mut residual, delta, &mut step)?;
            if index == self.layers.len() {
                // The cache is written; from here on only the rows that are asked for matter, and
                // most rows of a prompt are not.
                if rows.is_empty() {
                    backend.finish()?;
                    return Ok(Logits::new(Vec::new(), self.vocab_size));
                }
                residual = select_rows(&backend, residual, &rows)?;
                attended = select_rows(&backend, attended, &rows)?;
                adapters = adapters.select(&rows);
            }
            let to_add = layer.feed_forward(&backend, &mut residual, attended, &adapters)?;
            delta = Some(to_add);
        }
        match delta {
            Some(delta) => self.output(residual, delta, batch, (&rows, &adapters)),
            None => Err(ModelError::Forward("the model has no layers".to_owned())),
        }
    }

    /// Norm and head, for `rows` of `batch`.
    fn output(
        &self,
        mut residual: B::Tensor,
        delta: B::Tensor,
        batch: &ForwardBatch,
        (rows, adapters): (&[u32], &AdapterRows),
    ) -> Result<Logits> {
        let backend = &self.backend;
        let hidden = self.norm.add_forward(backend, &mut residual, delta)?;
        if batch.hidden_indices.is_empty() {
            return self.logits(&hidden, adapters);
        }
        let states = backend.select_rows(&hidden, &places(rows, &batch.hidden_indices))?;
        let states = backend.read(&states)?;
        if batch.logits_indices.is_empty() {
            let none = Logits::new(Vec::new(), self.vocab_size);
            return Ok(none.with_hidden_states(states));
        }
        let with_logits = places(rows, &batch.logits_indices);
        let hidden = select_rows(backend, hidden, &with_logits)?;
        let logits = self.logits(&hidden, &adapters.select(&with_logits))?;
        Ok(logits.with_hidden_states(states))
    }

    /// The head, for as many rows at a time as the device takes.
    fn logits(&self, hidden: &B::Tensor, adapters: &AdapterRows) -> Result<Logits> {
        let (rows, _) = B::shape(hidden);
        let most = self.backend.max_rows(self.vocab_size).max(1);
        let (factor, cap) = (self.logit_scale, self.logit_softcap);
        let read = |hidden: &B::Tensor, adapters: &AdapterRows| {
            let logits = self.head.forward(&self.backend, hidden, adapters)?;
            self.backend.read_logits(logits, factor, cap)
        };
        if rows <= most {
            return Ok(Logits::new(read(hidden, adapters)?, self.vocab_size));
        }
        let mut values = Vec::with_capacity(rows * self.vocab_size);
        let all: Vec<u32> = (0..rows as u32).collect();
        for part in all.chunks(most) {
            let hidden = self.backend.select_rows(hidden, part)?;
            values.extend(read(&hidden, &adapters.select(part))?);
        }
        Ok(Logits::new(values, self.vocab_size))
    }
}

impl<B: Backend> LanguageModel for Decoder<B> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn isa(&self) -> Isa {
        self.network.backend.isa()
    }

    fn thread_pool(&self) -> Option<&ThreadPool> {
        self.network.backend.thread_pool()
    }

    fn kv_block_bytes(&self, dtype: KvCacheDtype) -> usize {
        let CacheShape {
            layers,
            kv_heads,
            head_dim,
            ..
        } = self.cache_shape;
        layers * self.network.backend.block_bytes(kv_heads, head_dim, dtype)
    }

    fn max_kv_blocks(&self, dtype: KvCacheDtype) -> Option<usize> {
        let shape = self.cache_shape;
        self.network
            .backend
            .max_blocks(shape.kv_heads, shape.head_dim, dtype)
    }

    fn max_step_tokens(&self) -> Option<usize> {
        let most = self.network.backend.max_rows(self.widest);
        (most < usize::MAX).then_some(most)
    }

    fn token_cost(&self) -> Option<TokenCost> {
        let layer = |layer: &DecoderLayer<B>| {
            let attention = layer.attention.qkv.cost()? + layer.attention.output.cost()?;
            Some(attention + layer.feed_forward.cost()?)
        };
        Some(TokenCost {
            layers: self.network.layers.iter().map(layer).sum::<Option<_>>()?,
            head: self.network.head.cost()?,
        })
    }

    fn adapter_targets(&self) -> Option<Arc<AdapterTargets>> {
        self.targets.clone()
    }

    fn measure_roofs(&self) -> Option<Roofs> {
        self.network.backend.measure_roofs()
    }

    fn allocate_kv_cache(&mut self, num_blocks: usize, dtype: KvCacheDtype) -> Result<()> {
        // The old cache goes first: two would not always fit.
        self.cache = None;
        self.cache_shape.num_blocks = num_blocks;
        self.cache = Some(self.network.backend.cache(self.cache_shape, dtype)?);
        self.warm_up()
    }

    fn is_lost(&self) -> bool {
        self.network.backend.is_lost()
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits> {
        if self.cache.is_some() {
            self.check(batch)?;
        }
        match &mut self.cache {
            Some(cache) => self.network.step(cache, batch),
            None => Err(ModelError::KvCache("there is none yet".to_owned())),
        }
    }
}

impl<B: Backend> Decoder<B> {
    /// Runs steps for the device to get ready. What they write into the cache is overwritten before
    /// anybody reads it.
    fn warm_up(&mut self) -> Result<()> {
        let room = self.cache_shape.num_blocks * BLOCK_SIZE;
        let steps = self.network.backend.warm_up_steps();
        for &tokens in steps.iter().filter(|&&tokens| tokens <= room) {
            let blocks: Vec<u32> = (0..tokens.div_ceil(BLOCK_SIZE) as u32).collect();
            let mut batch = ForwardBatch::default();
            batch.push_request(&vec![0; tokens], 0, &blocks, 0..tokens);
            self.forward(&batch)?;
        }
        if !steps.is_empty() {
            self.network.backend.warmed_up();
        }
        Ok(())
    }

    /// Refuses a batch that is not for this model.
    fn check(&self, batch: &ForwardBatch) -> Result<()> {
        batch.validate(self.info.vocab_size, self.cache_shape.num_blocks)?;
        let mut adapters = batch.adapters.iter().flatten();
        let targets = self.targets.as_ref();
        if adapters.any(|adapter| !targets.is_some_and(|targets| targets.fit(adapter))) {
            let message = "an adapter was loaded for another model".to_owned();
            return Err(ModelError::InvalidBatch(message));
        }
        Ok(())
    }
}

impl<B: Backend> DecoderLayer<B> {
    /// The first half: adds `delta` to the residual stream, norms the sum and attends. Gives the
    /// attended values, not projected yet.
    fn attend(
        &self,
        residual: &mut B::Tensor,
        delta: Option<B::Tensor>,
        step: &mut Step<'_, B>,
    ) -> Result<B::Tensor> {
        let x = match delta {
            Some(delta) => self.input_norm.add_forward(step.backend, residual, delta)?,
            None => self.input_norm.forward(step.backend, residual)?,
        };
        self.attention.attend(x, step)
    }

    /// The second half: projects the attended values, adds them to the stream, and computes what
    /// the feed-forward part adds to that.
    fn feed_forward(
        &self,
        backend: &B,
        residual: &mut B::Tensor,
        attended: B::Tensor,
        adapters: &AdapterRows,
    ) -> Result<B::Tensor> {
        let x = self.attention.project(backend, &attended, adapters)?;
        drop(attended);
        let x = self.output(backend, x, self.attention_output_norm.as_ref())?;
        let x = self.feed_forward_norm.add_forward(backend, residual, x)?;
        let x = self.feed_forward.forward(backend, &x, adapters)?;
        self.output(backend, x, self.feed_forward_output_norm.as_ref())
    }

    fn output(&self, backend: &B, x: B::Tensor, norm: Option<&RmsNorm<B>>) -> Result<B::Tensor> {
        let mut x = match norm {
            Some(norm) => norm.forward(backend, &x)?,
            None => x,
        };
        scale(backend, &mut x, self.residual_scale)?;
        Ok(x)
    }
}

/// Multiplies by a factor, which is one in most models.
fn scale<B: Backend>(backend: &B, x: &mut B::Tensor, factor: f32) -> Result<()> {
    match factor == 1.0 {
        true => Ok(()),
        false => backend.scale(x, factor),
    }
}

/// The rows of which anything is wanted, ascending.
fn wanted_rows(batch: &ForwardBatch) -> Cow<'_, [u32]> {
    if batch.hidden_indices.is_empty() {
        return Cow::Borrowed(&batch.logits_indices);
    }
    let mut rows = [&batch.logits_indices[..], &batch.hidden_indices].concat();
    rows.sort_unstable();
    rows.dedup();
    Cow::Owned(rows)
}

/// Where each of `wanted` is in `rows`, which has them all; both ascend.
fn places(rows: &[u32], wanted: &[u32]) -> Vec<u32> {
    let place = |row: &u32| rows.partition_point(|other| other < row) as u32;
    wanted.iter().map(place).collect()
}

/// Some rows of `[tokens, features]`, or all of them as they are.
fn select_rows<B: Backend>(backend: &B, x: B::Tensor, rows: &[u32]) -> Result<B::Tensor> {
    match rows.len() == B::shape(&x).0 {
        true => Ok(x),
        false => backend.select_rows(&x, rows),
    }
}
