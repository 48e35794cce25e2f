//! The text side of a model: tokenizer, chat template, and the tokens that end an answer.

use matou_chat::TextError;
pub use matou_chat::TextSide;
use matou_model::{Checkpoint, TextFiles};

/// The text side that belongs to a checkpoint.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<TextSide, TextError> {
    match checkpoint.text() {
        TextFiles::Metadata(metadata) => TextSide::from_metadata(metadata),
        TextFiles::Folder(folder) => TextSide::from_folder(folder),
    }
}
