//! Whether a model fits into memory, before any of it is allocated.
//!
//! A pure calculation over a model's headers: numbers in, numbers or an error with advice out.

use matou_model::{BLOCK_SIZE, KvCacheDtype, ModelSummary};
use thiserror::Error;

use super::memory::human_bytes;

/// Tokens that there must be room for, where nobody says how long contexts are to be.
pub(crate) const SHORTEST_CONTEXT: usize = 512;
/// Tokens of a step that the working memory is reckoned for: a chunk of a prompt.
const STEP_TOKENS: u64 = 512;
/// The same on a GPU, whose memory is the limit and not what is touched of it: the largest step that
/// there is by default, in buffers of up to one and a half times what is in them.
const GPU_STEP_TOKENS: u64 = 2048 * 3 / 2;
/// What attention on a GPU takes for states, at most.
const GPU_STATES: u64 = 64 << 20;
/// What is needed whatever the model: tokenizer, grammars, HTTP, threads.
const BASE_BYTES: u64 = 64 << 20;

/// What a model takes for a context of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Packed weights.
    pub weights: u64,
    /// Keys and values of one context.
    pub kv_cache: u64,
    /// Activations of a step, and the rest of the program; an estimate.
    pub working: u64,
}

impl Memory {
    /// Reckons for one context of `tokens`, on the CPU or on a GPU.
    pub fn of(summary: &ModelSummary, dtype: KvCacheDtype, tokens: usize, is_gpu: bool) -> Self {
        let (step_tokens, states) = match is_gpu {
            true => (GPU_STEP_TOKENS, GPU_STATES),
            false => (STEP_TOKENS, 0),
        };
        let blocks = tokens.div_ceil(BLOCK_SIZE) as u64;
        let row = 6 * summary.hidden_size + 3 * summary.intermediate_size;
        let step = step_tokens * 4 * row as u64 + states;
        // A row of logits for each of some tens of requests.
        let logits = 32 * 4 * summary.vocab_size as u64;
        Self {
            weights: summary.weight_bytes,
            kv_cache: blocks * summary.kv_block_bytes(dtype) as u64,
            working: BASE_BYTES + step + logits,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.kv_cache + self.working
    }
}

/// A model that does not fit.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "this model takes {} for its weights, {} for the keys and values of {tokens} tokens and about {} to work in, \
     {} together, but only {} are free: {advice}",
    human_bytes(needs.weights), human_bytes(needs.kv_cache), human_bytes(needs.working),
    human_bytes(needs.total()), human_bytes(*free)
)]
pub struct DoesNotFit {
    /// What it takes.
    pub needs: Memory,
    /// Tokens of the context.
    pub tokens: usize,
    /// Memory that is free.
    pub free: u64,
    /// What to do.
    pub advice: String,
}

/// Checks that a model fits into `free` bytes with a context of `tokens`.
///
/// `quantized` are other ways to load it, by what `--quantize` would say and the memory of the
/// weights then, finest first.
pub(super) fn check(
    summary: &ModelSummary,
    (dtype, tokens): (KvCacheDtype, usize),
    (is_gpu, free): (bool, u64),
    quantized: impl IntoIterator<Item = (String, u64)>,
) -> Result<Memory, DoesNotFit> {
    let needs = Memory::of(summary, dtype, tokens, is_gpu);
    if needs.total() <= free {
        return Ok(needs);
    }
    let mut advice = Vec::new();
    let others = needs.total() - needs.weights;
    let smaller = quantized
        .into_iter()
        .find(|(_, weights)| *weights < needs.weights && weights + others <= free);
    if let Some((name, weights)) = smaller {
        advice.push(format!(
            "use --quantize {name} (weights of {})",
            human_bytes(weights)
        ));
    }
    let room = free.saturating_sub(needs.weights + needs.working);
    let block = summary.kv_block_bytes(dtype).max(1) as u64;
    let fits = (room / block).saturating_mul(BLOCK_SIZE as u64);
    if fits > 0 {
        advice.push(format!("lower --max-model-len to {fits}"));
    }
    advice.push("take a smaller or more strongly quantised model".to_owned());
    advice.push("free some memory".to_owned());
    Err(DoesNotFit {
        needs,
        tokens,
        free,
        advice: advice.join(", or "),
    })
}

#[cfg(test)]
mod tests {
    use matou_model::{Checkpoint, LoadOptions, WeightFiles};

    use super::*;

    fn summary() -> ModelSummary {
        let folder = matou_testkit::fixtures_dir().join("checkpoints/llama2");
        let checkpoint = Checkpoint::open(&WeightFiles::HuggingFace(folder)).unwrap();
        checkpoint.summary(&LoadOptions::default()).unwrap()
    }

    #[test]
    fn what_fits_is_reckoned_in_three_parts() {
        let summary = summary();
        let memory = check(&summary, (KvCacheDtype::F16, 100), (false, 1 << 40), []).unwrap();
        assert_eq!(memory.weights, summary.weight_bytes);
        let block = summary.kv_block_bytes(KvCacheDtype::F16) as u64;
        assert_eq!(memory.kv_cache, 7 * block);
        assert!(memory.working > BASE_BYTES);
        assert_eq!(
            memory.total(),
            memory.weights + memory.kv_cache + memory.working
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_numbers_and_advice() {
        let summary = summary();
        let needs = Memory::of(&summary, KvCacheDtype::F32, 512, false);
        let free = needs.total() - 1;
        let quantized = [("q8_0".to_owned(), needs.weights / 4)];
        let error =
            check(&summary, (KvCacheDtype::F32, 512), (false, free), quantized).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("512 tokens"), "{message}");
        assert!(message.contains("use --quantize q8_0"), "{message}");
        assert!(
            message.contains("lower --max-model-len to 496"),
            "{message}"
        );
        let error = check(&summary, (KvCacheDtype::F32, 512), (false, 1 << 20), []).unwrap_err();
        assert!(
            error.advice.starts_with("take a smaller"),
            "{}",
            error.advice
        );
    }
}
