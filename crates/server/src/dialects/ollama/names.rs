//! The names of models as Ollama's clients say them.

use matou_llm::{Llm, LlmError};

/// Checks that a model is served here; Ollama's clients like to say `:latest` after its name.
pub(super) fn check_model(llm: &Llm, model: Option<&str>) -> Result<(), LlmError> {
    match llm.check_model(model) {
        Err(error) => match model.and_then(|model| model.strip_suffix(":latest")) {
            Some(name) => llm.check_model(Some(name)),
            None => Err(error),
        },
        fine => fine,
    }
}
