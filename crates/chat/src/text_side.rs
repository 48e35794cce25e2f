//! The text side of a model in one: tokenizer, chat template, the tokens that end an answer, and how
//! its makers want answers drawn.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::prompt::TemplateTokens;
use crate::template::{ChatTemplate, TemplateError, TemplateSource};
use crate::tokenizer::{
    GenerationConfig, GgufVocab, Tokenizer, TokenizerError, UnknownPreTokenizer,
};

/// What stands between text and token ids.
#[derive(Debug, Default)]
pub struct TextSide {
    /// Files made for measuring only (`tokenizer.ggml.model` = `no_vocab`) have none.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Base models often have none.
    pub template: Option<Arc<ChatTemplate>>,
    /// Why the template that the model came with cannot be used. Texts can be continued all the same.
    pub template_error: Option<TemplateError>,
    /// The tokens that end an answer: [`Tokenizer::eos_token_ids`].
    pub eos_token_ids: Vec<u32>,
    /// What `generation_config.json` says; nothing for GGUF files, which have none.
    pub generation: GenerationConfig,
}

/// How a text side is opened.
#[derive(Debug, Clone, Default)]
pub struct TextOptions {
    /// What is done about a `tokenizer.ggml.pre` that is not known.
    pub unknown_pre_tokenizer: UnknownPreTokenizer,
    /// A template in the place of the model's own: a text of Jinja, or one of
    /// [`TemplateSource::known`].
    pub chat_template: Option<TemplateSource>,
    /// What compiles the template, if not this process ([`ChatTemplate::new`]).
    pub compiler: Option<TemplateCompiler>,
}

/// Compiles templates in a place of its own.
#[derive(Clone)]
pub struct TemplateCompiler(Arc<Compile>);

type Compile =
    dyn Fn(TemplateSource, TemplateTokens) -> Result<ChatTemplate, TemplateError> + Send + Sync;

impl TemplateCompiler {
    /// Compiles by `compile`.
    pub fn new(
        compile: impl Fn(TemplateSource, TemplateTokens) -> Result<ChatTemplate, TemplateError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(compile))
    }
}

impl fmt::Debug for TemplateCompiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TemplateCompiler")
    }
}

/// Why a model has no text side that could be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The template that the options ask for.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl TextSide {
    /// From the metadata of a GGUF file under `tokenizer.`, given as JSON with keys in full.
    ///
    /// # Errors
    /// When there is a vocabulary that cannot be used, or the options ask for a template that cannot.
    pub fn from_metadata(
        mut metadata: Map<String, Value>,
        options: &TextOptions,
    ) -> Result<Self, TextError> {
        let Some(vocab) = GgufVocab::take_from(&mut metadata) else {
            return Ok(Self::default());
        };
        let own = TemplateSource::from_metadata(&metadata);
        let template = ChosenTemplate::new(Ok(own), options);
        let tokenizer =
            Tokenizer::from_gguf_with(vocab, &template.text(), options.unknown_pre_tokenizer)?;
        Self::new(tokenizer, template, GenerationConfig::default())
    }

    /// From a folder in Hugging Face's layout or in Mistral's.
    ///
    /// # Errors
    /// When there is no tokenizer, one of its files cannot be used, or the options ask for a template
    /// that cannot.
    pub fn from_folder(folder: &Path, options: &TextOptions) -> Result<Self, TextError> {
        let generation = GenerationConfig::from_folder(folder)?;
        let template = ChosenTemplate::new(TemplateSource::from_folder(folder), options);
        let tokenizer = Tokenizer::with_generation_config(folder, &generation, &template.text())?;
        Self::new(tokenizer, template, generation)
    }

    fn new(
        tokenizer: Tokenizer,
        template: ChosenTemplate,
        generation: GenerationConfig,
    ) -> Result<Self, TextError> {
        let (is_override, compiler) = (template.is_override, template.compiler);
        let compiled = template.source.and_then(|source| {
            source
                .map(|source| {
                    let tokens = tokenizer.template_tokens();
                    match &compiler {
                        Some(TemplateCompiler(compile)) => compile(source, tokens),
                        None => ChatTemplate::new(source, tokens),
                    }
                })
                .transpose()
        });
        let (template, template_error) = match compiled {
            Ok(template) => (template, None),
            // What an operator asks for is theirs to mend before all else.
            Err(error) if is_override => return Err(error.into()),
            Err(error) => {
                tracing::warn!("chats are not served: {error}");
                (None, Some(error))
            }
        };
        Ok(Self {
            eos_token_ids: tokenizer.eos_token_ids().to_vec(),
            tokenizer: Some(Arc::new(tokenizer)),
            template: template.map(Arc::new),
            template_error,
            generation,
        })
    }
}

/// The template that is to be used: the model's own, or the one that the options ask for.
struct ChosenTemplate {
    source: Result<Option<TemplateSource>, TemplateError>,
    is_override: bool,
    compiler: Option<TemplateCompiler>,
}

impl ChosenTemplate {
    fn new(own: Result<Option<TemplateSource>, TemplateError>, options: &TextOptions) -> Self {
        Self {
            source: match &options.chat_template {
                Some(chosen) => Ok(Some(chosen.clone())),
                None => own,
            },
            is_override: options.chat_template.is_some(),
            compiler: options.compiler.clone(),
        }
    }

    /// The text of the template, or of all templates; empty where there is none.
    fn text(&self) -> String {
        let source = self.source.as_ref().ok().and_then(Option::as_ref);
        source.map(TemplateSource::joined).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> std::path::PathBuf {
        matou_testkit::fixtures_dir().join("checkpoints/llama3.2")
    }

    /// A folder with the tokenizer of the checkpoint and this file.
    fn folder_with(file: &str, text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = "tokenizer.json";
        std::fs::copy(checkpoint().join(tokenizer), folder.path().join(tokenizer)).unwrap();
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        folder
    }

    #[test]
    fn a_checkpoint_folder_has_a_tokenizer_and_end_tokens() {
        let text = TextSide::from_folder(&checkpoint(), &TextOptions::default()).unwrap();
        let tokenizer = text.tokenizer.unwrap();
        assert_eq!(tokenizer.decode(&[17], false), " t17");
        assert_eq!(text.eos_token_ids, tokenizer.eos_token_ids());
        assert!(!text.eos_token_ids.is_empty());
    }

    #[test]
    fn a_template_that_cannot_be_used_takes_nothing_else_down() {
        let faults = [
            ("chat_template.jinja", "{% if %}", "syntax error"),
            ("chat_template.json", "{", "chat_template.json"),
            (
                "chat_template.json",
                r#"{"chat_template": {"a": "x", "b": "y"}}"#,
                "\"default\"",
            ),
        ];
        for (file, text, reason) in faults {
            let folder = folder_with(file, text);
            let side = TextSide::from_folder(folder.path(), &TextOptions::default()).unwrap();
            assert!(side.tokenizer.is_some() && side.template.is_none());
            let error = side.template_error.unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_template_of_ones_own_stands_in_for_the_models() {
        let folder = folder_with("chat_template.jinja", "{% if %}");
        let with = |template: TemplateSource| TextOptions {
            chat_template: Some(template),
            ..TextOptions::default()
        };
        let side = TextSide::from_folder(folder.path(), &with("mine".into())).unwrap();
        assert_eq!(side.template.unwrap().source(), "mine");
        assert!(side.template_error.is_none());
        let chatml = TemplateSource::known("chatml").unwrap();
        let side = TextSide::from_folder(folder.path(), &with(chatml)).unwrap();
        assert!(side.template.unwrap().source().contains("<|im_start|>"));
        let error = TextSide::from_folder(folder.path(), &with("{% for %}".into())).unwrap_err();
        assert!(matches!(error, TextError::Template(_)), "{error}");
    }
}
