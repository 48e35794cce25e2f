//! Where a folder keeps its templates.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::error::TemplateError;
use super::mistral;
use super::source::TemplateSource;

/// The folder of named templates, each in a file of its own.
const ADDITIONAL: &str = "additional_chat_templates";
/// How many of them are looked at; transformers writes one or two.
const MAX_ADDITIONAL: usize = 64;

impl TemplateSource {
    /// The template of a folder in Hugging Face layout, if it has one: `chat_template.jinja`,
    /// `chat_template.json` or the field in `tokenizer_config.json`, in this order; with those of
    /// `additional_chat_templates/NAME.jinja` beside it. Where there is none, the format of Mistral's
    /// tokenizer if it has one of these.
    ///
    /// # Errors
    /// [`TemplateError::Read`] when one of them exists and cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, TemplateError> {
        let additional = additional(folder)?;
        let main = main_template(folder)?;
        if additional.is_empty() {
            return main.map_or_else(|| mistral::of_folder(folder), |main| Ok(Some(main)));
        }
        Ok(Some(match main {
            Some(main) => main.with(additional),
            None => Self::named(additional),
        }))
    }
}

/// The template that is used unless another fits better, or several in one file.
fn main_template(folder: &Path) -> Result<Option<TemplateSource>, TemplateError> {
    if let Some(template) = read(&folder.join("chat_template.jinja"))? {
        return Ok(Some(template.into()));
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let path = folder.join(file);
        let Some(text) = read(&path)? else {
            continue;
        };
        let config: Value = serde_json::from_str(&text).map_err(|error| TemplateError::Read {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        if let Some(source) = TemplateSource::from_json(&config["chat_template"]) {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

/// Templates in files of their own, by name.
fn additional(folder: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let Ok(entries) = std::fs::read_dir(folder.join(ADDITIONAL)) else {
        return Ok(Vec::new());
    };
    let mut templates = Vec::new();
    for path in entries
        .take(MAX_ADDITIONAL)
        .flatten()
        .map(|entry| entry.path())
    {
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_template = path
            .extension()
            .is_some_and(|extension| extension == "jinja");
        if let (Some(name), true) = (name, is_template) {
            templates.extend(read(&path)?.map(|text| (name.to_owned(), text)));
        }
    }
    templates.sort();
    Ok(templates)
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
