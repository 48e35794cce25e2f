//! Any bytes as a GGUF file: header, metadata, config, tensors.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use matou_model::WeightFiles;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(matou_fuzz::folder);

fuzz_target!(|data: &[u8]| {
    matou_fuzz::fill(&FOLDER, &[("model.gguf", data)]);
    matou_fuzz::read(&WeightFiles::Gguf(FOLDER.join("model.gguf")));
});
