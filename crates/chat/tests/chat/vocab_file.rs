//! Reads the vocabularies in the fixtures, with the parser that models are loaded with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use matou_chat::{GgufVocab, Tokenizer};
use matou_model::GgufFile;
use serde_json::{Map, Value};

/// A GGUF file of `tests/fixtures/vocab`.
pub(crate) struct VocabFile(GgufFile);

impl VocabFile {
    pub(crate) fn open(name: &str) -> Self {
        let path = matou_testkit::fixtures_dir().join("vocab").join(name);
        Self(GgufFile::open(&path).unwrap())
    }

    pub(crate) fn string(&self, key: &str) -> Option<String> {
        let value = self.0.metadata().get(&format!("tokenizer.{key}"))?;
        value.as_str().map(str::to_owned)
    }

    pub(crate) fn metadata(&self) -> Map<String, Value> {
        self.0.metadata().to_json("tokenizer.")
    }

    pub(crate) fn vocab(&self) -> GgufVocab {
        GgufVocab::take_from(&mut self.metadata()).unwrap()
    }
}

/// The tokenizer of a GGUF file, built once for all tests.
pub(crate) fn tokenizer(name: &'static str) -> Arc<Tokenizer> {
    static BUILT: Mutex<BTreeMap<&str, Arc<Tokenizer>>> = Mutex::new(BTreeMap::new());
    let build = || Arc::new(Tokenizer::from_gguf(VocabFile::open(name).vocab()).unwrap());
    Arc::clone(BUILT.lock().unwrap().entry(name).or_insert_with(build))
}
