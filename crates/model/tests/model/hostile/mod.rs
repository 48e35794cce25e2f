//! Files that are corrupt, or made to do harm: each is an error that names what is wrong, none a
//! panic or a giant allocation.

mod gguf;
mod huggingface;

use matou_model::{Checkpoint, DeviceChoice, LanguageModel, LoadOptions, ModelError, WeightFiles};

fn load_on_cpu(weights: &WeightFiles) -> Result<Box<dyn LanguageModel>, ModelError> {
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        threads: Some(1),
        ..LoadOptions::default()
    };
    Checkpoint::open(weights)?.load(&options)
}

/// The message of an error that must be one.
fn message<T>(result: Result<T, ModelError>, case: &str) -> String {
    match result {
        Ok(_) => panic!("{case}: no error"),
        Err(error) => error.to_string(),
    }
}

fn assert_mentions(message: &str, expected: &str) {
    assert!(
        message.contains(expected),
        "{message:?} does not mention {expected:?}"
    );
}
