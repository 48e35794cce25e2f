//! Another implementation as the oracle: candle-transformers' own Llama, on prompts that no golden
//! file holds.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use matou_model::{BLOCK_SIZE, DeviceChoice, ForwardBatch};

use super::harness::{Harness, checkpoint, options};

/// The logits that candle-transformers gives for the last token of `prompt`.
fn oracle(name: &str, prompt: &[u32]) -> Vec<f32> {
    let folder = checkpoint(name);
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let config: LlamaConfig = serde_json::from_slice(&config).unwrap();
    let config = config.into_config(false);
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let input = Tensor::new(prompt, &Device::Cpu)
        .unwrap()
        .unsqueeze(0)
        .unwrap();
    let model = Llama::load(weights, &config).unwrap();
    let logits = model.forward(&input, 0, &mut cache).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn logits_agree_with_candle_transformers() {
    for name in ["llama2", "llama3.1", "llama3.2"] {
        let folder = checkpoint(name);
        let mut harness = Harness::huggingface(&folder, &options(DeviceChoice::Cpu));
        for length in [1, 17, 60] {
            let prompt: Vec<u32> = (0..length).map(|i| 3 + (i * 37 + length) % 120).collect();
            let blocks: Vec<u32> = (0..prompt.len().div_ceil(BLOCK_SIZE) as u32).collect();
            let mut batch = ForwardBatch::default();
            batch.push_request(&prompt, 0, &blocks, [prompt.len() - 1]);
            let ours = harness.model.forward(&batch).unwrap();
            let theirs = oracle(name, &prompt);
            let largest = theirs.iter().fold(0_f32, |max, x| max.max(x.abs()));
            for (token, (ours, theirs)) in ours.row(0).iter().zip(&theirs).enumerate() {
                assert!(
                    (ours - theirs).abs() <= 1e-4 * largest,
                    "{name}, {length} tokens, token {token}: {ours}, not {theirs}"
                );
            }
        }
    }
}
