//! One template of a model, or several with names.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::TemplateError;

/// The name of the template that is used unless another fits better.
pub(super) const DEFAULT: &str = "default";

/// ChatML, the most common format of models that come without a template.
pub(super) const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One template, or several with names (`default`, `tool_use`, …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The template or templates in the metadata of a GGUF file under `tokenizer.`, given as JSON:
    /// `tokenizer.chat_template`, and with names `tokenizer.chat_template.NAME`.
    pub fn from_metadata(metadata: &Map<String, Value>) -> Option<Self> {
        const KEY: &str = "tokenizer.chat_template";
        let templates: Vec<_> = metadata
            .iter()
            .filter_map(|(key, value)| {
                let name = match key.strip_prefix(KEY)? {
                    "" => DEFAULT,
                    named => named.strip_prefix('.')?,
                };
                Some((name.to_owned(), value.as_str()?.to_owned()))
            })
            .collect();
        (!templates.is_empty()).then(|| Self::named(templates))
    }

    /// A template by the name of its format, for models that come without one: `chatml`, or one of
    /// Mistral's tokenizers (`mistral-v1`, `-v2`, `-v3`, `-v7`, `-v11`, `-v13`).
    pub fn known(name: &str) -> Option<Self> {
        match name.strip_prefix("mistral-v") {
            Some(version) => Self::mistral(version.parse().ok()?),
            None => (name == "chatml").then(|| CHATML.into()),
        }
    }

    /// The same with templates that stand in files of their own, which come before those of the same
    /// names.
    pub(super) fn with(mut self, others: Vec<(String, String)>) -> Self {
        self.templates
            .retain(|(name, _)| others.iter().all(|(other, _)| other != name));
        self.templates.extend(others);
        self
    }

    /// The text of the template, or of all templates.
    pub(crate) fn joined(&self) -> String {
        self.texts().collect::<Vec<_>>().join("\n")
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
