//! Every supported checkpoint against its reference logits, run in every way that the engine may
//! run it.

use matou_kernels::Isa;
use matou_model::{Checkpoint, DeviceChoice, LoadOptions, ModelError, WeightFiles};

use super::harness::{
    Golden, Harness, MAX_TOKENS, bits, checkpoint, goldens, options, relative_error,
};

/// Largest error of a logit, as a share of the largest logit.
pub(crate) const TOLERANCE: f32 = 1e-4;

fn assert_close(actual: &[f32], golden: &Golden, how: &str) {
    let error = relative_error(actual, &golden.logits);
    assert!(
        error <= TOLERANCE,
        "{how}: {} tokens are off by {error}",
        golden.prompt.len()
    );
}

/// All ways to run a checkpoint agree with the reference; with matou's kernels also among each
/// other, bit by bit.
fn check(name: &str) {
    let goldens = goldens(name);
    for device in [DeviceChoice::Cpu, DeviceChoice::CpuReference] {
        let mut model = Harness::huggingface(&checkpoint(name), &options(device));
        check_runs(&mut model, &goldens, device == DeviceChoice::Cpu);
    }
}

pub(crate) fn check_runs(model: &mut Harness, goldens: &[Golden], bit_identical: bool) {
    let mut alone = Vec::new();
    for golden in goldens {
        let whole = model.whole(&golden.prompt);
        assert_close(&whole, golden, "whole");
        for chunk in [1, 3] {
            let chunked = model.chunked(&golden.prompt, chunk);
            assert_close(&chunked, golden, "in chunks");
            if bit_identical {
                assert_eq!(
                    bits(&chunked),
                    bits(&whole),
                    "chunks of {chunk} change the logits"
                );
            }
        }
        assert!(golden.prompt.len() + golden.greedy.len() <= MAX_TOKENS);
        assert_eq!(
            model.greedy(&golden.prompt, golden.greedy.len()),
            golden.greedy
        );
        alone.push(whole);
    }
    let prompts: Vec<&[u32]> = goldens
        .iter()
        .map(|golden| golden.prompt.as_slice())
        .collect();
    // All at once; and a step that mixes first chunks with single tokens.
    for first in [usize::MAX, 4] {
        let batched = model.batched(&prompts, first);
        for ((batched, golden), alone) in batched.iter().zip(goldens).zip(&alone) {
            assert_close(batched, golden, "batched");
            if bit_identical {
                assert_eq!(bits(batched), bits(alone), "batch-mates change the logits");
            }
        }
    }
}

macro_rules! parity {
    ($($test:ident: $checkpoint:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($checkpoint);
            }
        )*
    };
}

parity! {
    llama2_agrees_with_its_reference: "llama2",
    llama3_in_shards_agrees_with_its_reference: "llama3",
    llama31_with_scaled_rope_agrees_with_its_reference: "llama3.1",
    llama32_with_a_tied_head_agrees_with_its_reference: "llama3.2",
    llama_with_biases_agrees_with_its_reference: "llama-bias",
    llama_with_wide_rows_agrees_with_its_reference: "llama-k256",
    mistral_v01_with_a_sliding_window_agrees_with_its_reference: "mistral-v0.1",
    mistral_v03_agrees_with_its_reference: "mistral-v0.3",
    mistral_nemo_with_wide_heads_agrees_with_its_reference: "mistral-nemo",
    mixtral_with_sparse_experts_agrees_with_its_reference: "mixtral",
    ministral_with_mixed_windows_agrees_with_its_reference: "ministral",
    ministral3_with_yarn_agrees_with_its_reference: "ministral3",
    smollm3_with_layers_without_rope_agrees_with_its_reference: "smollm3",
    granite_with_its_multipliers_agrees_with_its_reference: "granite",
    qwen2_agrees_with_its_reference: "qwen2",
    qwen3_with_head_norms_agrees_with_its_reference: "qwen3",
    phi3_with_fused_projections_agrees_with_its_reference: "phi3",
    gemma3_agrees_with_its_reference: "gemma3",
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    let golden = &goldens("llama3.2")[2];
    for isa in Isa::available() {
        let options = LoadOptions {
            isa: Some(isa),
            ..options(DeviceChoice::Cpu)
        };
        let mut model = Harness::huggingface(&checkpoint("llama3.2"), &options);
        assert_close(&model.whole(&golden.prompt), golden, isa.name());
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let golden = &goldens("llama-k256")[2];
    let mut logits = [1, 2, 3].map(|threads| {
        let options = LoadOptions {
            threads: Some(threads),
            ..options(DeviceChoice::Cpu)
        };
        bits(&Harness::huggingface(&checkpoint("llama-k256"), &options).whole(&golden.prompt))
    });
    let first = logits[0].clone();
    assert!(logits.iter_mut().all(|logits| *logits == first));
}

#[test]
fn only_the_rows_asked_for_have_logits() {
    let golden = &goldens("llama2")[1];
    let mut model = Harness::huggingface(&checkpoint("llama2"), &options(DeviceChoice::Cpu));
    let vocab = model.model.info().vocab_size;
    let all = model.whole(&golden.prompt);
    let mut batch = matou_model::ForwardBatch::default();
    batch.push_request(&golden.prompt, 0, &[2], [1, 4]);
    let some = model.model.forward(&batch).unwrap();
    assert_eq!(some.rows(), 2);
    assert_eq!(bits(some.row(0)), bits(&all[vocab..2 * vocab]));
    assert_eq!(bits(some.row(1)), bits(&all[4 * vocab..5 * vocab]));
    batch.logits_indices.clear();
    assert_eq!(model.model.forward(&batch).unwrap().rows(), 0);
}

#[test]
fn a_step_before_the_cache_is_allocated_is_an_error() {
    let weights = WeightFiles::HuggingFace(checkpoint("llama2"));
    let checkpoint = Checkpoint::open(&weights).unwrap();
    let mut model = checkpoint.load(&options(DeviceChoice::Cpu)).unwrap();
    let mut batch = matou_model::ForwardBatch::default();
    batch.push_request(&[1], 0, &[0], [0]);
    assert!(matches!(model.forward(&batch), Err(ModelError::KvCache(_))));
}

#[test]
fn a_bad_batch_is_an_error_and_the_model_stays_usable() {
    let golden = &goldens("llama2")[1];
    let mut model = Harness::huggingface(&checkpoint("llama2"), &options(DeviceChoice::Cpu));
    let mut batch = matou_model::ForwardBatch::default();
    batch.push_request(&[1, 999], 0, &[0], [0]);
    let error = model.model.forward(&batch).unwrap_err().to_string();
    assert!(error.contains("token 999"), "{error}");
    assert_close(&model.whole(&golden.prompt), golden, "after an error");
}

#[test]
fn the_model_describes_itself() {
    let model =
        Harness::huggingface(&checkpoint("mistral-v0.1"), &options(DeviceChoice::Cpu)).model;
    let info = model.info();
    assert_eq!(info.architecture, "MistralForCausalLM");
    assert_eq!(
        (info.vocab_size, info.hidden_size, info.num_layers),
        (128, 64, 2)
    );
    assert_eq!(info.max_position_embeddings, 512);
    assert_eq!(info.sliding_window, Some(16));
    assert_eq!(info.quantization, "F32");
    // 2 embeddings, 2 layers of 64x64 Q and O, 32x64 K and V, 3 x 64x128 and 2 norms, a last norm.
    let layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128 + 2 * 64;
    assert_eq!(info.parameters, 2 * 128 * 64 + 2 * layer + 64);
}
