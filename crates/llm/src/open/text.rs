//! The text side of a model: tokenizer, chat template, and the tokens that end an answer.

use std::path::Path;
use std::sync::Arc;

use matou_chat::{ChatTemplate, GgufVocab, TemplateSource, Tokenizer};
use matou_model::{GgufFile, GgufMetadata, GgufValue};
use serde_json::Value;

use super::error::TextError;

/// What stands between text and token ids.
#[derive(Debug, Default)]
pub struct TextSide {
    /// Files made for measuring only (`tokenizer.ggml.model` = `no_vocab`) have none.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// Base models often have none.
    pub template: Option<Arc<ChatTemplate>>,
    /// The tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

impl TextSide {
    /// From the metadata of a GGUF file.
    pub fn from_gguf(gguf: &GgufFile) -> Result<Self, TextError> {
        let metadata = gguf.metadata();
        let Some(vocab) = gguf_vocab(metadata) else {
            return Ok(Self::default());
        };
        let tokenizer = Tokenizer::from_gguf(vocab)?;
        let eos_token_ids = tokenizer.eos_token_ids().to_vec();
        Self::new(tokenizer, gguf_template(metadata), eos_token_ids)
    }

    /// From a folder in Hugging Face layout.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let tokenizer = Tokenizer::from_folder(folder)?;
        let mut eos_token_ids = tokenizer.eos_token_ids().to_vec();
        for file in ["generation_config.json", "config.json"] {
            let path = folder.join(file);
            if path.exists() {
                let config = read_json(&path).map_err(|message| TextError::File {
                    path: path.clone(),
                    message,
                })?;
                eos_token_ids.extend(token_ids(&config["eos_token_id"]));
            }
        }
        Self::new(
            tokenizer,
            TemplateSource::from_folder(folder)?,
            eos_token_ids,
        )
    }

    fn new(
        tokenizer: Tokenizer,
        template: Option<TemplateSource>,
        eos_token_ids: Vec<u32>,
    ) -> Result<Self, TextError> {
        let template = template
            .map(|source| ChatTemplate::new(source, tokenizer.template_tokens()))
            .transpose()?;
        Ok(Self {
            tokenizer: Some(Arc::new(tokenizer)),
            template: template.map(Arc::new),
            eos_token_ids,
        })
    }
}

fn read_json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// A token id, a list of them, or nothing.
fn token_ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(values) => values.iter().filter_map(id).collect(),
        value => id(value).into_iter().collect(),
    }
}

/// The vocabulary in GGUF metadata, unless it says that there is none.
fn gguf_vocab(metadata: &GgufMetadata) -> Option<GgufVocab> {
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let model = get("model").and_then(GgufValue::as_str)?;
    if matches!(model, "no_vocab" | "none") {
        return None;
    }
    let strings = |key| {
        get(key)
            .and_then(GgufValue::as_strings)
            .unwrap_or_default()
            .to_vec()
    };
    let id = |key| {
        get(key)
            .and_then(GgufValue::as_u64)
            .and_then(|id| u32::try_from(id).ok())
    };
    let flag = |key| get(key).and_then(GgufValue::as_bool);
    Some(GgufVocab {
        model: model.to_owned(),
        pre: get("pre").and_then(GgufValue::as_str).map(str::to_owned),
        tokens: strings("tokens"),
        scores: get("scores")
            .and_then(GgufValue::as_f64s)
            .map(|scores| scores.iter().map(|&score| score as f32).collect())
            .unwrap_or_default(),
        token_types: get("token_type")
            .and_then(GgufValue::to_i64s)
            .map(|types| {
                types
                    .iter()
                    .map(|&kind| i32::try_from(kind).unwrap_or(0))
                    .collect()
            })
            .unwrap_or_default(),
        merges: strings("merges"),
        bos_token_id: id("bos_token_id"),
        eos_token_id: id("eos_token_id"),
        eot_token_id: id("eot_token_id"),
        eom_token_id: id("eom_token_id"),
        unknown_token_id: id("unknown_token_id"),
        add_bos_token: flag("add_bos_token"),
        add_eos_token: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
    })
}

/// The template or templates in GGUF metadata: `tokenizer.chat_template`, and with names
/// `tokenizer.chat_template.NAME`.
fn gguf_template(metadata: &GgufMetadata) -> Option<TemplateSource> {
    const KEY: &str = "tokenizer.chat_template";
    let templates: Vec<_> = metadata
        .iter()
        .filter_map(|(key, value)| {
            let name = match key.strip_prefix(KEY)? {
                "" => "default",
                named => named.strip_prefix('.')?,
            };
            Some((name.to_owned(), value.as_str()?.to_owned()))
        })
        .collect();
    (!templates.is_empty()).then(|| TemplateSource::named(templates))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn end_tokens_are_read_as_a_number_or_a_list() {
        assert_eq!(token_ids(&json!(2)), [2]);
        assert_eq!(token_ids(&json!([128_001, 128_009])), [128_001, 128_009]);
        assert!(token_ids(&Value::Null).is_empty());
        assert!(token_ids(&json!(-1)).is_empty());
    }

    #[test]
    fn a_checkpoint_folder_has_a_tokenizer_and_end_tokens() {
        let folder = matou_testkit::fixtures_dir().join("checkpoints/llama3.2");
        let text = TextSide::from_folder(&folder).unwrap();
        let tokenizer = text.tokenizer.unwrap();
        assert_eq!(tokenizer.decode(&[17], false), " t17");
        assert!(!text.eos_token_ids.is_empty());
    }
}
