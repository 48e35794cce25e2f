//! Final hidden states: what the head makes logits of.

use matou_model::DeviceChoice;
use matou_testkit::gpu;
use safetensors::SafeTensors;

use super::harness::{Harness, bits, checkpoint, goldens, options, relative_error};

/// Its head is its embedding.
const TIED: &str = "llama3.2";

/// The rows of the head.
fn head(hidden_size: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(checkpoint(TIED).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor("model.embed_tokens.weight").unwrap().data();
    let floats = data.chunks_exact(4);
    let floats: Vec<f32> = floats
        .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
        .collect();
    floats
        .chunks_exact(hidden_size)
        .map(<[f32]>::to_vec)
        .collect()
}

#[test]
fn the_head_makes_the_references_logits_of_them() {
    let devices = [DeviceChoice::Cpu, DeviceChoice::CpuReference];
    for device in devices.into_iter().chain(gpu()) {
        let mut model = Harness::huggingface(&checkpoint(TIED), &options(device));
        let hidden_size = model.model.info().hidden_size;
        let head = head(hidden_size);
        for golden in goldens(TIED) {
            let (last, hidden) = model.with_hidden_states(&golden.prompt);
            assert_eq!(hidden.len(), golden.prompt.len() * hidden_size);
            let logits = hidden.chunks_exact(hidden_size).flat_map(|state| {
                let product = |row: &Vec<f32>| row.iter().zip(state).map(|(a, b)| a * b).sum();
                head.iter().map(product).collect::<Vec<f32>>()
            });
            let logits: Vec<f32> = logits.collect();
            assert!(relative_error(&logits, &golden.logits) < 1e-4);
            if device != DeviceChoice::CpuReference {
                let whole = model.whole(&golden.prompt);
                assert_eq!(bits(&last), bits(&whole[whole.len() - last.len()..]));
            }
        }
    }
}
