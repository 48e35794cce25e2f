//! Every supported checkpoint on a GPU, against its reference logits, in every way that the engine may
//! run it. Any Vulkan device will do; continuous integration has Mesa's software one.

use matou_testkit::gpu;

use super::harness::{Harness, checkpoint, goldens, options};
use super::parity::check_runs;

/// All ways to run a checkpoint agree with the reference, and bit by bit among each other.
fn check(name: &str) {
    let Some(device) = gpu() else { return };
    let mut model = Harness::huggingface(&checkpoint(name), &options(device));
    check_runs(&mut model, &goldens(name), true);
}

macro_rules! on_a_gpu {
    ($($test:ident: $checkpoint:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($checkpoint);
            }
        )*
    };
}

on_a_gpu! {
    llama2_agrees_on_a_gpu: "llama2",
    llama3_agrees_on_a_gpu: "llama3",
    llama31_agrees_on_a_gpu: "llama3.1",
    llama32_agrees_on_a_gpu: "llama3.2",
    llama_with_biases_agrees_on_a_gpu: "llama-bias",
    llama_with_wide_rows_agrees_on_a_gpu: "llama-k256",
    mistral_v01_agrees_on_a_gpu: "mistral-v0.1",
    mistral_v03_agrees_on_a_gpu: "mistral-v0.3",
    mistral_nemo_agrees_on_a_gpu: "mistral-nemo",
    mixtral_agrees_on_a_gpu: "mixtral",
    ministral_agrees_on_a_gpu: "ministral",
    ministral3_agrees_on_a_gpu: "ministral3",
    smollm3_agrees_on_a_gpu: "smollm3",
    granite_agrees_on_a_gpu: "granite",
    qwen2_agrees_on_a_gpu: "qwen2",
    qwen3_agrees_on_a_gpu: "qwen3",
    phi3_agrees_on_a_gpu: "phi3",
    gemma3_agrees_on_a_gpu: "gemma3",
}
