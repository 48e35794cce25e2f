//! Where a folder keeps its template.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::error::TemplateError;
use super::mistral;
use super::source::TemplateSource;

impl TemplateSource {
    /// The template of a folder in Hugging Face layout, if it has one: `chat_template.jinja`,
    /// `chat_template.json` or the field in `tokenizer_config.json`, in this order; and where there
    /// is none, the format of Mistral's tokenizer if it has one of these.
    ///
    /// # Errors
    /// [`TemplateError::Read`] when one of them exists and cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, TemplateError> {
        if let Some(template) = read(&folder.join("chat_template.jinja"))? {
            return Ok(Some(template.into()));
        }
        for file in ["chat_template.json", "tokenizer_config.json"] {
            let path = folder.join(file);
            let Some(text) = read(&path)? else {
                continue;
            };
            let config: Value =
                serde_json::from_str(&text).map_err(|error| TemplateError::Read {
                    path: path.display().to_string(),
                    message: error.to_string(),
                })?;
            if let Some(source) = Self::from_json(&config["chat_template"]) {
                return Ok(Some(source));
            }
        }
        mistral::of_folder(folder)
    }
}

/// A text file, `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>, TemplateError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TemplateError::Read {
            path: path.display().to_string(),
            message: error.to_string(),
        }),
    }
}
