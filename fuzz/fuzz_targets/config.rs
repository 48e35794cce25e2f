//! Any bytes as `config.json` or `params.json`, beside weights that are well.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use matou_model::WeightFiles;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(matou_fuzz::folder);

const WEIGHTS: &[u8] = include_bytes!("../../tests/fixtures/prequantized/awq/model.safetensors");

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let files: &[(&str, &[u8])] = match choice % 2 {
        0 => &[("config.json", data), ("model.safetensors", WEIGHTS)],
        _ => &[("params.json", data), ("consolidated.safetensors", WEIGHTS)],
    };
    matou_fuzz::fill(&FOLDER, files);
    matou_fuzz::read(&WeightFiles::HuggingFace(FOLDER.clone()));
});
