//! A language model without weights, for tests of everything above the model.
//!
//! Its logits are a function of the context alone, and it reads that context where a real model
//! would: [`forward`](LanguageModel::forward) writes each token into the slot it is given and
//! collects the context again through the block table. So a wrong block table, a block reused too
//! early, a prefix matched by mistake or a token computed twice at different places change the
//! answer, as they would with real keys and values.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matou_model::{
    BLOCK_SIZE, ForwardBatch, KvCacheDtype, LanguageModel, Logits, ModelError, ModelInfo,
};

/// What a step asked of a [`ScriptedModel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRecord {
    /// Sequences in the batch.
    pub num_requests: usize,
    /// Tokens in the batch.
    pub num_tokens: usize,
    /// Rows of logits asked for.
    pub num_logits: usize,
}

/// How a step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Error,
    Panic,
}

/// A deterministic model whose answers depend on every token of the context.
#[derive(Debug)]
pub struct ScriptedModel {
    info: ModelInfo,
    /// Token and position in each slot: the keys and values of this model.
    kv_cache: Vec<Option<(u32, u32)>>,
    /// What it says where the context holds the first part; the first that fits.
    replies: Vec<(Vec<u32>, Vec<u32>)>,
    step_time: Duration,
    token_time: Duration,
    faults: Vec<(usize, Fault)>,
    steps: Arc<Mutex<Vec<StepRecord>>>,
}

impl ScriptedModel {
    /// A model with a vocabulary of `vocab_size` and logits that look random, but are a function of
    /// the context.
    pub fn new(vocab_size: usize) -> Self {
        let info = ModelInfo {
            architecture: "scripted".to_owned(),
            vocab_size,
            hidden_size: 1,
            num_layers: 1,
            max_position_embeddings: 1 << 20,
            quantization: "none".to_owned(),
            ..ModelInfo::default()
        };
        Self {
            info,
            kv_cache: Vec::new(),
            replies: Vec::new(),
            step_time: Duration::ZERO,
            token_time: Duration::ZERO,
            faults: Vec::new(),
            steps: Arc::default(),
        }
    }

    /// Only the last `window` tokens count.
    pub fn with_sliding_window(mut self, window: usize) -> Self {
        self.info.sliding_window = Some(window);
        self
    }

    /// Answers every prompt with these tokens, over and over: by far the best logit is that of the
    /// token after the longest beginning of `reply` that the context ends with.
    pub fn with_reply(self, reply: &[u32]) -> Self {
        self.with_reply_to(&[], reply)
    }

    /// The same for prompts that hold `cue`, unless an earlier reply fits.
    pub fn with_reply_to(mut self, cue: &[u32], reply: &[u32]) -> Self {
        assert!(!reply.is_empty(), "a reply has at least one token");
        self.replies.push((cue.to_vec(), reply.to_vec()));
        self
    }

    /// Every step takes `step` and `token` for each of its tokens.
    pub fn with_latency(mut self, step: Duration, token: Duration) -> Self {
        (self.step_time, self.token_time) = (step, token);
        self
    }

    /// The step with this number, counted from 0, returns an error.
    pub fn failing_at(mut self, step: usize) -> Self {
        self.faults.push((step, Fault::Error));
        self
    }

    /// The step with this number, counted from 0, panics.
    pub fn panicking_at(mut self, step: usize) -> Self {
        self.faults.push((step, Fault::Panic));
        self
    }

    /// The steps run so far; stays readable after the model has been handed to an engine.
    pub fn steps(&self) -> Arc<Mutex<Vec<StepRecord>>> {
        self.steps.clone()
    }

    /// The logits that follow `context`.
    pub fn logits(&self, context: &[u32]) -> Vec<f32> {
        let visible = context
            .len()
            .saturating_sub(self.info.sliding_window.unwrap_or(usize::MAX));
        let context = &context[visible..];
        let state = context
            .iter()
            .fold(0x5eed, |state, &token| mix(state ^ u64::from(token)));
        let mut logits: Vec<f32> = (0..self.info.vocab_size as u64)
            .map(|token| noise(state, token))
            .collect();
        let fits = |cue: &[u32]| cue.is_empty() || context.windows(cue.len()).any(|w| w == cue);
        if let Some((_, reply)) = self.replies.iter().find(|(cue, _)| fits(cue)) {
            let said = (0..reply.len())
                .rev()
                .find(|&n| context.ends_with(&reply[..n]))
                .unwrap_or(0);
            logits[reply[said] as usize] += 1000.0;
        }
        logits
    }

    /// The final hidden state, one number, of the last token of `context`.
    pub fn hidden_state(&self, context: &[u32]) -> f32 {
        let state = context
            .iter()
            .fold(0xe3bed, |state, &token| mix(state ^ u64::from(token)));
        noise(state, 0)
    }

    fn write(&mut self, batch: &ForwardBatch) {
        let tokens = batch.input_ids.iter().zip(&batch.positions);
        for ((&token, &position), &slot) in tokens.zip(&batch.slot_mapping) {
            self.kv_cache[slot as usize] = Some((token, position));
        }
    }

    /// The tokens that row `row` of request `request` can see, read through its block table.
    fn context(&self, batch: &ForwardBatch, request: usize, row: usize) -> Vec<u32> {
        let table = &batch.block_tables[batch.block_table_start[request] as usize..];
        let len = batch.positions[row] as usize + 1;
        let first = len.saturating_sub(self.info.sliding_window.unwrap_or(usize::MAX));
        (first..len)
            .map(|position| {
                let slot =
                    table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE;
                match self.kv_cache[slot] {
                    Some((token, written_at)) if written_at as usize == position => token,
                    // Visible in the answer, as garbage in a real cache would be.
                    other => u32::MAX - other.map_or(0, |(token, _)| token),
                }
            })
            .collect()
    }
}

impl LanguageModel for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn kv_block_bytes(&self, _dtype: KvCacheDtype) -> usize {
        BLOCK_SIZE * size_of::<Option<(u32, u32)>>()
    }

    fn allocate_kv_cache(
        &mut self,
        num_blocks: usize,
        _dtype: KvCacheDtype,
    ) -> Result<(), ModelError> {
        self.kv_cache = vec![None; num_blocks * BLOCK_SIZE];
        Ok(())
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        let step = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.push(StepRecord {
                num_requests: batch.num_requests(),
                num_tokens: batch.num_tokens(),
                num_logits: batch.logits_indices.len(),
            });
            steps.len() - 1
        };
        let time = self.step_time + self.token_time * batch.num_tokens() as u32;
        if time > Duration::ZERO {
            std::thread::sleep(time);
        }
        match self.faults.iter().find(|(at, _)| *at == step) {
            Some((_, Fault::Error)) => {
                return Err(ModelError::Forward(format!(
                    "scripted to fail at step {step}"
                )));
            }
            Some((_, Fault::Panic)) => panic!("scripted to panic at step {step}"),
            None => {}
        }
        self.write(batch);
        let context = |row: u32| {
            let request = batch.query_start_loc.partition_point(|&start| start <= row) - 1;
            self.context(batch, request, row as usize)
        };
        let logits = batch.logits_indices.iter();
        let logits = logits.flat_map(|&row| self.logits(&context(row))).collect();
        let hidden = batch.hidden_indices.iter();
        let hidden = hidden
            .map(|&row| self.hidden_state(&context(row)))
            .collect();
        Ok(Logits::new(logits, self.info.vocab_size).with_hidden_states(hidden))
    }
}

/// splitmix64 (Steele et al. 2014): every bit of the result depends on every bit of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Roughly normal, with a standard deviation of about 2.3: peaked like real logits.
fn noise(state: u64, token: u64) -> f32 {
    let bits = mix(state ^ (token << 32));
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
    (sum as f32 / 65536.0 - 2.0) * 4.0
}
