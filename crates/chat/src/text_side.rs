//! The text side of a model in one: tokenizer, chat template, the tokens that end an answer, and how
//! its makers want answers drawn.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::template::{ChatTemplate, TemplateError, TemplateSource};
use crate::tokenizer::{GenerationConfig, GgufVocab, Tokenizer, TokenizerError};

/// What stands between text and token ids.
#[derive(Debug, Default)]
pub struct TextSide {
    /// Files made for measuring only (`tokenizer.ggml.model` = `no_vocab`) have none.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Base models often have none.
    pub template: Option<Arc<ChatTemplate>>,
    /// The tokens that end an answer: [`Tokenizer::eos_token_ids`].
    pub eos_token_ids: Vec<u32>,
    /// What `generation_config.json` says; nothing for GGUF files, which have none.
    pub generation: GenerationConfig,
}

/// Why a model has no text side that could be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl TextSide {
    /// From the metadata of a GGUF file under `tokenizer.`, given as JSON with keys in full.
    ///
    /// # Errors
    /// When there is a vocabulary or a template and it cannot be used.
    pub fn from_metadata(mut metadata: Map<String, Value>) -> Result<Self, TextError> {
        let Some(vocab) = GgufVocab::take_from(&mut metadata) else {
            return Ok(Self::default());
        };
        let tokenizer = Tokenizer::from_gguf(vocab)?;
        let template = TemplateSource::from_metadata(&metadata);
        Self::new(tokenizer, template, GenerationConfig::default())
    }

    /// From a folder in Hugging Face's layout or in Mistral's.
    ///
    /// # Errors
    /// When there is no tokenizer, or one of the files cannot be used.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let generation = GenerationConfig::from_folder(folder)?;
        let tokenizer = Tokenizer::with_generation_config(folder, &generation)?;
        Self::new(tokenizer, TemplateSource::from_folder(folder)?, generation)
    }

    fn new(
        tokenizer: Tokenizer,
        template: Option<TemplateSource>,
        generation: GenerationConfig,
    ) -> Result<Self, TextError> {
        let template = template
            .map(|source| ChatTemplate::new(source, tokenizer.template_tokens()))
            .transpose()?;
        Ok(Self {
            eos_token_ids: tokenizer.eos_token_ids().to_vec(),
            tokenizer: Some(Arc::new(tokenizer)),
            template: template.map(Arc::new),
            generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_folder_has_a_tokenizer_and_end_tokens() {
        let folder = matou_testkit::fixtures_dir().join("checkpoints/llama3.2");
        let text = TextSide::from_folder(&folder).unwrap();
        let tokenizer = text.tokenizer.unwrap();
        assert_eq!(tokenizer.decode(&[17], false), " t17");
        assert_eq!(text.eos_token_ids, tokenizer.eos_token_ids());
        assert!(!text.eos_token_ids.is_empty());
    }
}
