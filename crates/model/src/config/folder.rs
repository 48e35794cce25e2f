//! A folder in Hugging Face's layout: which of its JSON files say what.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::defaults;
use super::huggingface::RawHuggingFaceConfig;
use super::json_file::read_json;
use super::model_config::ModelConfig;
use crate::error::{ModelError, Result, invalid_config};
use crate::weights::Method;

/// `config.json` of a folder, read but not understood yet: what its fields mean, and which there are,
/// depends on the architecture.
pub(crate) struct FolderConfig {
    path: PathBuf,
    /// The config of the text part.
    text: Value,
    method: Option<Method>,
}

impl FolderConfig {
    /// Reads `config.json` of a folder, and how the weights were quantised.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let json: Value = read_json(&path)?;
        let method = match Method::from_config(&path, &json)? {
            None => older_method(folder)?,
            method => method,
        };
        let mut text = text_part(json);
        defaults::fill(&mut text);
        Ok(Self { path, text, method })
    }

    /// The name of the architecture.
    pub(crate) fn architecture(&self) -> Result<&str> {
        self.text["architectures"][0].as_str().ok_or_else(|| {
            let message = "is missing, or not a list of names".to_owned();
            invalid_config(&self.path, "architectures", message)
        })
    }

    /// The config, and how the weights were quantised.
    pub(crate) fn into_config(self) -> Result<(ModelConfig, Option<Method>)> {
        let raw: RawHuggingFaceConfig =
            serde_json::from_value(self.text).map_err(|error| ModelError::InvalidFile {
                path: self.path.clone(),
                message: error.to_string(),
            })?;
        let config = raw.into_config(&self.path)?;
        Ok((config.validate(&self.path)?, self.method))
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
    // Both levels may say whether the head is tied.
    if text["tie_word_embeddings"].is_null() {
        text["tie_word_embeddings"] = json["tie_word_embeddings"].take();
    }
    text["architectures"] = serde_json::json!([architecture]);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As published with Gemma 3 4B: half of what matters is left out.
    #[test]
    fn a_config_that_says_little_is_filled_in_by_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "model_type": "gemma3_text",
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let (config, _) = FolderConfig::read(folder.path())
            .unwrap()
            .into_config()
            .unwrap();
        assert_eq!(
            (config.num_attention_heads, config.num_key_value_heads),
            (8, 4)
        );
        assert_eq!((config.head_dim, config.vocab_size), (256, 262_208));
        assert!(config.tie_word_embeddings);
        assert_eq!(config.rope.theta, 1e6);
        assert_eq!(config.sliding_rope.as_ref().unwrap().theta, 1e4);
        assert_eq!(config.hidden_act, "gelu_pytorch_tanh");
        let full = (0..34).filter(|layer| config.layer_window(*layer).is_none());
        assert!(full.eq([5, 11, 17, 23, 29]));
    }

    #[test]
    fn the_text_part_of_a_model_that_sees_is_a_config_of_its_own() {
        let text = text_part(json!({
            "architectures": ["Mistral3ForConditionalGeneration"],
            "text_config": {"model_type": "ministral3", "hidden_size": 8, "tie_word_embeddings": true},
            "tie_word_embeddings": false,
        }));
        assert_eq!(text["architectures"], json!(["Ministral3ForCausalLM"]));
        assert_eq!(text["hidden_size"], json!(8));
        assert_eq!(text["tie_word_embeddings"], json!(true));
        let unknown = json!({"architectures": ["IdeficsForConditionalGeneration"]});
        assert_eq!(text_part(unknown.clone()), unknown);
    }
}
