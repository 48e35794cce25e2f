//! `generation_config.json`: how the makers of a model want its answers drawn, and where they end.

use std::path::Path;

use serde::Deserialize;

use super::end_tokens::TokenIds;
use super::error::TokenizerError;
use super::files::read_optional;

/// What `generation_config.json` says that is obeyed.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// `eos_token_id`: tokens that end an answer, beside others.
    pub eos_token_ids: Vec<u32>,
    /// `temperature`. This and what follows is for requests that do not say themselves, and `None`
    /// unless `do_sample` is set: without it, the makers mean greedy decoding and the numbers are
    /// leftovers.
    pub temperature: Option<f32>,
    /// `top_p`.
    pub top_p: Option<f32>,
    /// `top_k`.
    pub top_k: Option<usize>,
    /// `min_p`.
    pub min_p: Option<f32>,
    /// `repetition_penalty`.
    pub repetition_penalty: Option<f32>,
}

/// The fields as written.
#[derive(Deserialize)]
struct RawGenerationConfig {
    #[serde(default)]
    eos_token_id: TokenIds,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

impl GenerationConfig {
    /// Reads the file in a folder; nothing is set where there is none.
    ///
    /// # Errors
    /// [`TokenizerError::Read`], and [`TokenizerError::Invalid`] when it is not JSON or a field is
    /// not what it should be.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("generation_config.json");
        let Some(bytes) = read_optional(&path)? else {
            return Ok(Self::default());
        };
        let raw: RawGenerationConfig =
            serde_json::from_slice(&bytes).map_err(|error| TokenizerError::Invalid {
                origin: path.display().to_string(),
                message: error.to_string(),
            })?;
        let only_ends = Self {
            eos_token_ids: raw.eos_token_id.into_vec(),
            ..Self::default()
        };
        if raw.do_sample != Some(true) {
            return Ok(only_ends);
        }
        Ok(Self {
            temperature: raw.temperature,
            top_p: raw.top_p,
            top_k: raw.top_k,
            min_p: raw.min_p,
            repetition_penalty: raw.repetition_penalty,
            ..only_ends
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<GenerationConfig, TokenizerError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        GenerationConfig::from_folder(folder.path())
    }

    #[test]
    fn numbers_count_only_where_sampling_is_wanted() {
        let numbers = r#""temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": [5, 6]"#;
        let greedy = read(&format!("{{{numbers}}}")).unwrap();
        assert_eq!((greedy.temperature, greedy.top_k), (None, None));
        assert_eq!(greedy.eos_token_ids, [5, 6]);
        let drawn = read(&format!(r#"{{"do_sample": true, {numbers}}}"#)).unwrap();
        assert_eq!(
            (drawn.temperature, drawn.top_p, drawn.top_k, drawn.min_p),
            (Some(0.6), Some(0.9), Some(40), None)
        );
        assert_eq!(drawn.eos_token_ids, [5, 6]);
    }

    #[test]
    fn a_folder_without_the_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = GenerationConfig::from_folder(folder.path()).unwrap();
        assert_eq!(config, GenerationConfig::default());
        assert_eq!(
            read(r#"{"eos_token_id": null, "do_sample": null}"#).unwrap(),
            config
        );
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        for text in [
            "{",
            "[]",
            r#"{"eos_token_id": "</s>"}"#,
            r#"{"temperature": "warm"}"#,
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("generation_config.json: "),
                "{text}: {error}"
            );
        }
    }
}
