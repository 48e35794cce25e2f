//! The text side of a model: tokenizer, chat template, and the tokens that end an answer.

use std::sync::Arc;

use matou_chat::{ChatTemplate, TextSide};
use matou_model::{Checkpoint, TextFiles, WeightFiles};

use super::error::OpenError;

/// The text side that belongs to a checkpoint, with `template` in place of its own if one is given.
///
/// # Errors
///
/// When its tokenizer or the template cannot be used.
pub fn text_side(checkpoint: &Checkpoint, template: Option<&str>) -> Result<TextSide, OpenError> {
    let text = match checkpoint.text() {
        TextFiles::Metadata(metadata) => TextSide::from_metadata(metadata),
        TextFiles::Folder(folder) => TextSide::from_folder(folder),
    };
    let mut text = text.map_err(|source| {
        let (WeightFiles::Gguf(path) | WeightFiles::HuggingFace(path)) = checkpoint.files();
        OpenError::Text {
            path: path.clone(),
            source,
        }
    })?;
    if let (Some(template), Some(tokenizer)) = (template, &text.tokenizer) {
        let tokens = tokenizer.template_tokens();
        let template = ChatTemplate::new(template, tokens).map_err(OpenError::ChatTemplate)?;
        text.template = Some(Arc::new(template));
    }
    Ok(text)
}
