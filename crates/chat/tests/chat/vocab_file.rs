//! Reads the vocabularies in the fixtures, with the parser that models are loaded with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use matou_chat::{GgufVocab, Tokenizer};
use matou_model::{GgufFile, GgufValue};

/// A GGUF file of `tests/fixtures/vocab`.
pub(crate) struct VocabFile(GgufFile);

impl VocabFile {
    pub(crate) fn open(name: &str) -> Self {
        let path = matou_testkit::fixtures_dir().join("vocab").join(name);
        Self(GgufFile::open(&path).unwrap())
    }

    fn get(&self, key: &str) -> Option<&GgufValue> {
        self.0.metadata().get(&format!("tokenizer.{key}"))
    }

    pub(crate) fn string(&self, key: &str) -> Option<String> {
        self.get(key)?.as_str().map(str::to_owned)
    }

    fn id(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u64()?.try_into().ok()
    }

    fn strings(&self, key: &str) -> Vec<String> {
        self.get(key)
            .and_then(GgufValue::as_strings)
            .unwrap_or_default()
            .to_vec()
    }

    pub(crate) fn vocab(&self) -> GgufVocab {
        let scores = self.get("ggml.scores").and_then(GgufValue::as_f64s);
        let token_types = self.get("ggml.token_type").and_then(GgufValue::to_i64s);
        GgufVocab {
            model: self.string("ggml.model").unwrap(),
            pre: self.string("ggml.pre"),
            tokens: self.strings("ggml.tokens"),
            scores: scores
                .unwrap_or_default()
                .iter()
                .map(|&s| s as f32)
                .collect(),
            token_types: token_types
                .unwrap_or_default()
                .iter()
                .map(|&t| t as i32)
                .collect(),
            merges: self.strings("ggml.merges"),
            bos_token_id: self.id("ggml.bos_token_id"),
            eos_token_id: self.id("ggml.eos_token_id"),
            eot_token_id: self.id("ggml.eot_token_id"),
            eom_token_id: self.id("ggml.eom_token_id"),
            unknown_token_id: self.id("ggml.unknown_token_id"),
            add_bos_token: self.get("ggml.add_bos_token").and_then(GgufValue::as_bool),
            add_eos_token: self.get("ggml.add_eos_token").and_then(GgufValue::as_bool),
            add_space_prefix: self
                .get("ggml.add_space_prefix")
                .and_then(GgufValue::as_bool),
        }
    }
}

/// The tokenizer of a GGUF file, built once for all tests.
pub(crate) fn tokenizer(name: &'static str) -> Arc<Tokenizer> {
    static BUILT: Mutex<BTreeMap<&str, Arc<Tokenizer>>> = Mutex::new(BTreeMap::new());
    let build = || Arc::new(Tokenizer::from_gguf(VocabFile::open(name).vocab()).unwrap());
    Arc::clone(BUILT.lock().unwrap().entry(name).or_insert_with(build))
}
