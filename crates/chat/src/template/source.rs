//! Where a model's templates are found.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::{DEFAULT, TemplateError};

/// One template, or several with names (`default`, `tool_use`, …).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateSource {
    templates: Vec<(String, String)>,
}

impl From<&str> for TemplateSource {
    fn from(template: &str) -> Self {
        template.to_owned().into()
    }
}

impl From<String> for TemplateSource {
    fn from(template: String) -> Self {
        Self {
            templates: vec![(DEFAULT.to_owned(), template)],
        }
    }
}

impl TemplateSource {
    /// Templates with names, such as GGUF's `tokenizer.chat_template.tool_use`. One has to be
    /// called `default`, or be the only one.
    pub fn named(templates: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            templates: templates.into_iter().collect(),
        }
    }

    /// The field `chat_template` of a `tokenizer_config.json`: a string, a list of objects with
    /// `name` and `template`, or an object by name. `None` for anything else.
    pub fn from_json(field: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match field {
            Value::String(template) => Some(template.clone().into()),
            Value::Array(templates) => templates
                .iter()
                .map(|entry| Some((text(&entry["name"])?, text(&entry["template"])?)))
                .collect::<Option<Vec<_>>>()
                .map(Self::named),
            Value::Object(templates) => templates
                .iter()
                .map(|(name, template)| Some((name.clone(), text(template)?)))
                .collect::<Option<Vec<_>>>()
                .map(Self::named),
            _ => None,
        }
    }

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
        super::mistral::of_folder(folder)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|(_, text)| text.as_str())
    }

    /// The templates by name, one of which is the default.
    pub(super) fn into_templates(mut self) -> Result<Vec<(String, String)>, TemplateError> {
        if self.names().any(|name| name == DEFAULT) {
            return Ok(self.templates);
        }
        if let [(name, _)] = self.templates.as_mut_slice() {
            *name = DEFAULT.to_owned();
            return Ok(self.templates);
        }
        let names: Vec<&str> = self.names().collect();
        Err(TemplateError::Invalid {
            message: format!("none of the templates {names:?} is called \"{DEFAULT}\""),
        })
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
