//! A folder in Hugging Face's layout: which of its JSON files say what.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::ModelConfig;
use super::huggingface::{RawConfig, TokenIds};
use crate::error::{ModelError, Result};
use crate::weights::Method;

/// `generation_config.json`, of which only the end tokens matter here.
#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<TokenIds>,
}

impl ModelConfig {
    /// Reads `config.json` of a folder, and `generation_config.json` where there is one: its set of
    /// end tokens is the one that generation goes by. Also says how the weights were quantised.
    pub(crate) fn from_folder(folder: &Path) -> Result<(Self, Option<Method>)> {
        let path = folder.join("config.json");
        let json: Value = read_json(&path)?;
        let method = match Method::from_config(&path, &json)? {
            None => older_method(folder)?,
            method => method,
        };
        let json = text_part(json);
        let raw: RawConfig =
            serde_json::from_value(json).map_err(|error| ModelError::InvalidFile {
                path: path.clone(),
                message: error.to_string(),
            })?;
        let mut config = raw.into_config(&path)?;
        let generation = folder.join("generation_config.json");
        if generation.exists()
            && let Some(ids) = read_json::<GenerationConfig>(&generation)?.eos_token_id
        {
            config.eos_token_ids = ids.into_vec();
        }
        Ok((config.validate(&path)?, method))
    }
}

/// How the weights were quantised, in the file of its own that older tools wrote.
fn older_method(folder: &Path) -> Result<Option<Method>> {
    for (file, method) in [
        ("quantize_config.json", "gptq"),
        ("quant_config.json", "awq"),
    ] {
        let path = folder.join(file);
        if path.exists() {
            let mut json: Value = read_json(&path)?;
            if let Value::Object(fields) = &mut json {
                fields.insert("quant_method".to_owned(), method.into());
            }
            return Method::from_config(&path, &serde_json::json!({"quantization_config": json}));
        }
    }
    Ok(None)
}

/// The config of the text part of a model that sees as well; others as they are.
fn text_part(mut json: Value) -> Value {
    let composite = json["architectures"][0].as_str();
    let Some(composite) = composite.and_then(|name| name.strip_suffix("ForConditionalGeneration"))
    else {
        return json;
    };
    let kind = json["text_config"]["model_type"].as_str();
    let architecture = match (composite, kind) {
        ("Mistral3" | "Llava", Some("mistral")) => "MistralForCausalLM",
        ("Mistral3", Some("ministral3")) => "Ministral3ForCausalLM",
        ("Gemma3", Some("gemma3_text")) => "Gemma3ForCausalLM",
        _ => return json,
    };
    let mut text = json["text_config"].take();
    // Both levels may have the tokens, and whether the head is tied.
    for field in ["tie_word_embeddings", "bos_token_id", "eos_token_id"] {
        if text[field].is_null() {
            text[field] = json[field].take();
        }
    }
    text["architectures"] = serde_json::json!([architecture]);
    text
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::InvalidFile {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_part_of_a_model_that_sees_is_a_config_of_its_own() {
        let text = text_part(json!({
            "architectures": ["Mistral3ForConditionalGeneration"],
            "eos_token_id": 7,
            "text_config": {"model_type": "ministral3", "hidden_size": 8, "tie_word_embeddings": true},
            "tie_word_embeddings": false,
        }));
        assert_eq!(text["architectures"], json!(["Ministral3ForCausalLM"]));
        assert_eq!(
            (&text["hidden_size"], &text["eos_token_id"]),
            (&json!(8), &json!(7))
        );
        assert_eq!(text["tie_word_embeddings"], json!(true));
        let unknown = json!({"architectures": ["IdeficsForConditionalGeneration"]});
        assert_eq!(text_part(unknown.clone()), unknown);
    }

    #[test]
    fn the_generation_config_has_the_last_word_on_end_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let source = matou_testkit::fixtures_dir().join("checkpoints/llama2/config.json");
        std::fs::copy(source, folder.path().join("config.json")).unwrap();
        let end_tokens = || {
            ModelConfig::from_folder(folder.path())
                .unwrap()
                .0
                .eos_token_ids
        };
        assert_eq!(end_tokens(), [2]);
        let generation = folder.path().join("generation_config.json");
        std::fs::write(&generation, r#"{"temperature": 0.6}"#).unwrap();
        assert_eq!(end_tokens(), [2]);
        std::fs::write(&generation, r#"{"eos_token_id": [5, 6]}"#).unwrap();
        assert_eq!(end_tokens(), [5, 6]);
    }
}
