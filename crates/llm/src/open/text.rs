//! The text side of a model: tokenizer, chat template, and the tokens that end an answer.

use matou_chat::{TextOptions, TextSide};
use matou_model::{Checkpoint, TextFiles, WeightFiles};

use super::error::OpenError;

/// The text side that belongs to a checkpoint.
///
/// # Errors
///
/// When its tokenizer cannot be used, or the template that the options ask for.
pub fn text_side(checkpoint: &Checkpoint, options: &TextOptions) -> Result<TextSide, OpenError> {
    let text = match checkpoint.text() {
        TextFiles::Metadata(metadata) => TextSide::from_metadata(metadata, options),
        TextFiles::Folder(folder) => TextSide::from_folder(folder, options),
    };
    text.map_err(|source| {
        let path = match checkpoint.files() {
            WeightFiles::Gguf(path) | WeightFiles::HuggingFace(path) => path.clone(),
            WeightFiles::Synthetic(shape) => shape.to_string().into(),
        };
        OpenError::Text { path, source }
    })
}
