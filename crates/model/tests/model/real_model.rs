//! SmolLM2-135M-Instruct in Q4_1 against its reference. Runs where `MATOU_TEST_MODEL` names the GGUF
//! file.

use std::collections::BTreeMap;
use std::path::Path;

use matou_model::{
    BLOCK_SIZE, ForwardBatch, KvCacheDtype, LanguageModel, LoadOptions, WeightFiles, load,
};
use matou_testkit::fixtures_dir;
use safetensors::SafeTensors;

use super::harness::argmax;

/// The mean divergence of llama.cpp on the same file and text: the accuracy to keep.
const MAX_MEAN_KL_DIVERGENCE: f64 = 0.00265;

/// The reference keeps so many of the best tokens of each position.
const TOP: usize = 64;
/// Distances between the best two logits under which 8-bit activations may choose the second, as
/// they do in llama.cpp.
const CLOSE_CALL: f32 = 0.3;

/// Reference tensors: integers and floats by name.
struct Reference {
    integers: BTreeMap<String, Vec<u32>>,
    floats: BTreeMap<String, Vec<f32>>,
}

impl Reference {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let mut reference = Self {
            integers: BTreeMap::new(),
            floats: BTreeMap::new(),
        };
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let data = tensor.data();
            match tensor.dtype() {
                safetensors::Dtype::I64 => {
                    let ids = data
                        .chunks_exact(8)
                        .map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32);
                    reference.integers.insert(name, ids.collect());
                }
                safetensors::Dtype::I32 => {
                    let ids = data
                        .chunks_exact(4)
                        .map(|id| i32::from_le_bytes(id.try_into().unwrap()) as u32);
                    reference.integers.insert(name, ids.collect());
                }
                safetensors::Dtype::F32 => {
                    let values = data
                        .chunks_exact(4)
                        .map(|x| f32::from_le_bytes(x.try_into().unwrap()));
                    reference.floats.insert(name, values.collect());
                }
                other => panic!("{name} has type {other:?}"),
            }
        }
        reference
    }
}

fn run(model: &mut dyn LanguageModel, ids: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let table: Vec<u32> = (0..ids.len().div_ceil(BLOCK_SIZE) as u32).rev().collect();
    let mut rows = Vec::new();
    for (index, tokens) in ids.chunks(chunk).enumerate() {
        let mut batch = ForwardBatch::default();
        batch.push_request(tokens, index * chunk, &table, 0..tokens.len());
        let logits = model.forward(&batch).unwrap();
        rows.extend((0..logits.rows()).map(|row| logits.row(row).to_vec()));
    }
    rows
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits
        .iter()
        .map(|&x| f64::from(x - max) - sum.ln())
        .collect()
}

/// Divergence of `actual` from a reference known by its best tokens; the rest counts as one.
fn kl_divergence(actual: &[f64], ids: &[u32], logprobs: &[f32]) -> f64 {
    let mut divergence = 0.0;
    let (mut rest, mut actual_rest) = (1.0f64, 1.0f64);
    for (&id, &logprob) in ids.iter().zip(logprobs) {
        let (p, log_q) = (f64::from(logprob).exp(), actual[id as usize]);
        divergence += p * (f64::from(logprob) - log_q);
        rest -= p;
        actual_rest -= log_q.exp();
    }
    if rest > 1e-9 {
        divergence += rest * (rest / actual_rest.max(1e-9)).ln();
    }
    divergence
}

#[test]
fn smollm2_is_as_close_to_its_reference_as_the_best_of_its_peers() {
    let Some(model) = std::env::var_os("MATOU_TEST_MODEL") else {
        eprintln!("skipped: MATOU_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let reference = Reference::read(&fixtures_dir().join("smollm2/golden.safetensors"));
    let mut model = load(&WeightFiles::Gguf(model.into()), &LoadOptions::default()).unwrap();
    model.allocate_kv_cache(64, KvCacheDtype::F16).unwrap();
    check_last_logits(model.as_mut(), &reference);
    check_greedy_tokens(model.as_mut(), &reference);
    check_divergence(model.as_mut(), &reference);
}

fn check_last_logits(model: &mut dyn LanguageModel, reference: &Reference) {
    for (name, ids) in &reference.integers {
        let Some(index) = name.strip_prefix("prompt_") else {
            continue;
        };
        let expected = &reference.floats[&format!("last_logits_{index}")];
        let rows = run(model, ids, 512);
        let actual = rows.last().unwrap();
        let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let squares: f32 = actual
            .iter()
            .zip(expected)
            .map(|(a, e)| (a - e) * (a - e))
            .sum();
        let deviation = (squares / expected.len() as f32).sqrt() / largest;
        eprintln!(
            "{name}: {} tokens, deviation {deviation:.5} of the largest logit",
            ids.len()
        );
        assert!(deviation < 0.04, "{name} is off by {deviation}");
    }
}

/// The greedy tokens are the reference's up to the first close call.
fn check_greedy_tokens(model: &mut dyn LanguageModel, reference: &Reference) {
    for index in 0..4 {
        let prompt = &reference.integers[&format!("prompt_{index}")];
        let logprobs = &reference.floats[&format!("greedy_top_logprobs_{index}")];
        let tokens: Vec<u32> = reference.integers[&format!("greedy_top_ids_{index}")]
            .chunks_exact(TOP)
            .map(|best| best[0])
            .collect();
        // Teacher-forced, so that one close call does not end the comparison.
        let mut ids = prompt.clone();
        ids.extend(&tokens[..tokens.len() - 1]);
        let rows = run(model, &ids, 1_000);
        let mut agree = 0;
        for (position, &token) in tokens.iter().enumerate() {
            let best = argmax(&rows[prompt.len() - 1 + position]);
            let margin = logprobs[position * TOP] - logprobs[position * TOP + 1];
            assert!(
                best == token || margin < CLOSE_CALL,
                "prompt {index}, token {position}: {best} and not {token}, by a margin of {margin}"
            );
            agree += usize::from(best == token);
        }
        eprintln!("prompt {index}: {agree} of {} greedy tokens", tokens.len());
    }
}

fn check_divergence(model: &mut dyn LanguageModel, reference: &Reference) {
    let ids = &reference.integers["text_ids"];
    let top_ids = &reference.integers["text_top_ids"];
    let top_logprobs = &reference.floats["text_top_logprobs"];
    let rows = run(model, ids, 256);
    let positions = top_ids.len() / TOP;
    let (mut divergence, mut same_best, mut loss) = (0.0, 0, 0.0);
    for (position, logits) in rows.iter().enumerate().take(positions) {
        let logprobs = log_softmax(logits);
        let range = position * TOP..(position + 1) * TOP;
        let best = &top_ids[range.clone()];
        divergence += kl_divergence(&logprobs, best, &top_logprobs[range]);
        same_best += usize::from(best[0] == argmax(logits));
        if let Some(&next) = ids.get(position + 1) {
            loss -= logprobs[next as usize];
        }
    }
    let mean = divergence / positions as f64;
    eprintln!(
        "{positions} positions: mean KL divergence {mean:.5}, same best token at {:.1} %, perplexity {:.2}",
        100.0 * same_best as f64 / positions as f64,
        (loss / (ids.len() - 1) as f64).exp()
    );
    assert!(mean <= MAX_MEAN_KL_DIVERGENCE, "mean KL divergence {mean}");
}
