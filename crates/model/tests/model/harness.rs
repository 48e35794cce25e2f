//! Reference data, and models run over it in different ways.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use matou_model::{
    Adapter, AdapterFiles, BLOCK_SIZE, Checkpoint, DeviceChoice, ForwardBatch, KvCacheDtype,
    LanguageModel, LoadOptions, ModelError, WeightFiles,
};
use matou_testkit::fixtures_dir;
use safetensors::SafeTensors;

/// Blocks of the cache: enough for all prompts of a checkpoint at once.
const NUM_BLOCKS: usize = 24;

/// What a reference implementation computed for one prompt.
pub(crate) struct Golden {
    pub(crate) prompt: Vec<u32>,
    /// `[prompt, vocab]`
    pub(crate) logits: Vec<f32>,
    /// The tokens that follow when each is the most likely one.
    pub(crate) greedy: Vec<u32>,
}

pub(crate) fn checkpoint(name: &str) -> PathBuf {
    fixtures_dir().join("checkpoints").join(name)
}

pub(crate) fn gguf_fixture(file: &str) -> PathBuf {
    fixtures_dir().join("gguf").join(file)
}

/// The goldens of a checkpoint.
pub(crate) fn goldens(name: &str) -> Vec<Golden> {
    goldens_in(&checkpoint(name))
}

/// The goldens in a folder.
pub(crate) fn goldens_in(folder: &Path) -> Vec<Golden> {
    let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(8)
            .map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32)
            .collect()
    };
    let floats = |name: &str| -> Vec<f32> {
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(4)
            .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
            .collect()
    };
    (0..3)
        .map(|i| Golden {
            prompt: ids(&format!("prompt_{i}")),
            logits: floats(&format!("logits_{i}")),
            greedy: ids(&format!("greedy_{i}")),
        })
        .collect()
}

/// Two threads, so that kernels do share their work.
pub(crate) fn options(device: DeviceChoice) -> LoadOptions {
    LoadOptions {
        device,
        threads: Some(2),
        ..LoadOptions::default()
    }
}

/// A model with an f32 cache.
pub(crate) struct Harness {
    pub(crate) model: Box<dyn LanguageModel>,
    /// What all requests have.
    pub(crate) adapter: Option<Arc<Adapter>>,
}

impl Harness {
    pub(crate) fn new(weights: &WeightFiles, options: &LoadOptions) -> Self {
        let mut model = Checkpoint::open(weights)
            .and_then(|checkpoint| checkpoint.load(options))
            .unwrap();
        model
            .allocate_kv_cache(NUM_BLOCKS, KvCacheDtype::F32)
            .unwrap();
        let adapter = None;
        Self { model, adapter }
    }

    pub(crate) fn huggingface(folder: &Path, options: &LoadOptions) -> Self {
        Self::new(&WeightFiles::HuggingFace(folder.to_owned()), options)
    }

    pub(crate) fn gguf(file: &Path, options: &LoadOptions) -> Self {
        Self::new(&WeightFiles::Gguf(file.to_owned()), options)
    }

    /// Loads an adapter, and gives it to all requests from now on.
    pub(crate) fn adapt(&mut self, path: &Path) -> Result<(), ModelError> {
        let targets = self.model.adapter_targets().unwrap();
        let adapter = targets.load(&AdapterFiles::open(path)?)?;
        self.adapter = Some(Arc::new(adapter));
        Ok(())
    }

    /// Logits of every position, the prompt run in chunks.
    pub(crate) fn chunked(&mut self, prompt: &[u32], chunk: usize) -> Vec<f32> {
        let table = block_table(0);
        let mut logits = Vec::new();
        for (index, tokens) in prompt.chunks(chunk).enumerate() {
            let mut batch = ForwardBatch::default();
            batch.push_request(tokens, index * chunk, &table, 0..tokens.len());
            logits.extend(self.run(&batch));
        }
        logits
    }

    /// Logits of the last position, and the final hidden states of all.
    pub(crate) fn with_hidden_states(&mut self, prompt: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let mut batch = ForwardBatch::default();
        // A neighbour of which no hidden states are wanted.
        batch.push_request(&[5, 6], 0, &block_table(1), [1]);
        batch.push_request(prompt, 0, &block_table(0), [prompt.len() - 1]);
        batch.want_hidden_states();
        let output = self.model.forward(&batch).unwrap();
        (output.row(1).to_vec(), output.hidden_states().to_vec())
    }

    /// Logits of every position, the prompt run in one step.
    pub(crate) fn whole(&mut self, prompt: &[u32]) -> Vec<f32> {
        self.chunked(prompt, prompt.len())
    }

    /// Logits of every position of every prompt, all run in the same steps with blocks interleaved:
    /// the first step takes `first` tokens of each prompt, the second the rest.
    pub(crate) fn batched(&mut self, prompts: &[&[u32]], first: usize) -> Vec<Vec<f32>> {
        let vocab = self.model.info().vocab_size;
        let mut logits = vec![Vec::new(); prompts.len()];
        for step in 0..2 {
            let mut batch = ForwardBatch::default();
            let mut members = Vec::new();
            for (request, prompt) in prompts.iter().enumerate() {
                let cut = first.min(prompt.len());
                let tokens = if step == 0 {
                    &prompt[..cut]
                } else {
                    &prompt[cut..]
                };
                if !tokens.is_empty() {
                    let computed = if step == 0 { 0 } else { cut };
                    batch.push_request(tokens, computed, &block_table(request), 0..tokens.len());
                    members.push((request, tokens.len() * vocab));
                }
            }
            if members.is_empty() {
                continue;
            }
            let mut rest = self.run(&batch).into_iter();
            for (request, len) in members {
                logits[request].extend(rest.by_ref().take(len));
            }
        }
        logits
    }

    /// The most likely tokens after a prompt, one by one.
    pub(crate) fn greedy(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let vocab = self.model.info().vocab_size;
        let table = block_table(0);
        let mut next = argmax(&self.whole(prompt)[(prompt.len() - 1) * vocab..]);
        let mut tokens = vec![next];
        while tokens.len() < count {
            let mut batch = ForwardBatch::default();
            batch.push_request(&[next], prompt.len() + tokens.len() - 1, &table, [0]);
            next = argmax(&self.run(&batch));
            tokens.push(next);
        }
        tokens
    }

    fn run(&mut self, batch: &ForwardBatch) -> Vec<f32> {
        let adapted = ForwardBatch {
            adapters: vec![self.adapter.clone(); batch.num_requests()],
            ..batch.clone()
        };
        let logits = self.model.forward(&adapted).unwrap();
        (0..logits.rows())
            .flat_map(|row| logits.row(row).to_vec())
            .collect()
    }
}

/// Blocks of one of three requests, in an order that is neither ascending nor contiguous.
pub(crate) fn block_table(request: usize) -> Vec<u32> {
    (0..NUM_BLOCKS / 3)
        .map(|i| ((i * 3 + request) * 7 % NUM_BLOCKS) as u32)
        .collect()
}

/// Tokens that a request can hold.
pub(crate) const MAX_TOKENS: usize = NUM_BLOCKS / 3 * BLOCK_SIZE;

pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.unwrap().0 as u32
}

/// Largest difference, as a share of the largest logit.
pub(crate) fn relative_error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len(), "number of logits");
    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let error = actual
        .iter()
        .zip(expected)
        .map(|(a, e)| (a - e).abs())
        .fold(0.0, f32::max);
    error / largest
}

/// Root mean square of the differences, as a share of that of the logits: for errors that are noise,
/// whose largest says little.
pub(crate) fn relative_deviation(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len(), "number of logits");
    let noise: f32 = actual
        .iter()
        .zip(expected)
        .map(|(a, e)| (a - e) * (a - e))
        .sum();
    let signal: f32 = expected.iter().map(|e| e * e).sum();
    (noise / signal).sqrt()
}

/// Bit patterns, since equal floats can differ.
pub(crate) fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}
