//! Any bytes as safetensors, whole or in shards with an index, of a config that is given or not.
//!
//! ```text
//! choice:u8 │ length:u16 index │ length:u16 config, or none for a given one │ the tensors
//! ```
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use matou_model::WeightFiles;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(matou_fuzz::folder);

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/prequantized/gptq/config.json");

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let (index, rest) = matou_fuzz::part(rest);
    let (config, tensors) = matou_fuzz::part(rest);
    let config = if config.is_empty() { CONFIG } else { config };
    let files: &[(&str, &[u8])] = match choice % 3 {
        0 => &[("config.json", config), ("model.safetensors", tensors)],
        1 => &[
            ("config.json", config),
            ("model.safetensors.index.json", index),
            ("a.safetensors", tensors),
        ],
        _ => &[("params.json", config), ("consolidated.safetensors", tensors)],
    };
    matou_fuzz::fill(&FOLDER, files);
    matou_fuzz::read(&WeightFiles::HuggingFace(FOLDER.clone()));
});
