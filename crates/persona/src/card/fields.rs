//! Fields of a JSON object, read with their paths, so that an error can say where it is.
//!
//! A field that is missing and one that is `null` are the same: cards in use have both.

use serde_json::{Map, Value};

use crate::error::PersonaError;

/// An object and where it stands.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

/// What a JSON value is, as an error says it.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which stands at `path`.
    pub(crate) fn of(value: &'a Value, path: impl Into<String>) -> Result<Self, PersonaError> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(PersonaError::Type {
                path: if path.is_empty() {
                    "the card".to_owned()
                } else {
                    path
                },
                expected: "an object",
                found: kind(other),
            }),
        }
    }

    /// Where this object stands.
    pub(crate) fn here(&self) -> &str {
        &self.path
    }

    /// Where a field of this object stands.
    pub(crate) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Names of the fields that hold something.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        let filled = self.map.iter().filter(|(_, value)| !is_empty(value));
        filled.map(|(key, _)| key.as_str())
    }

    /// A field that is there and not null.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// An error about a field's type.
    pub(crate) fn wrong(&self, key: &str, expected: &'static str, found: &Value) -> PersonaError {
        PersonaError::Type {
            path: self.path(key),
            expected,
            found: kind(found),
        }
    }

    /// An error about a field's value.
    pub(crate) fn invalid(&self, key: &str, problem: impl Into<String>) -> PersonaError {
        PersonaError::Value {
            path: self.path(key),
            problem: problem.into(),
        }
    }

    /// Text; empty where there is none.
    pub(crate) fn text(&self, key: &str) -> Result<String, PersonaError> {
        match self.value(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.wrong(key, "text", other)),
        }
    }

    /// Text that says something, without blanks around it.
    pub(crate) fn filled(&self, key: &str) -> Result<Option<String>, PersonaError> {
        let text = self.text(key)?;
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// Text, or a number written as one: versions are both.
    pub(crate) fn text_or_number(&self, key: &str) -> Result<String, PersonaError> {
        match self.value(key) {
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => self.text(key),
        }
    }

    /// A list of texts; empty where there is none. An element that is null is none.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, PersonaError> {
        let elements = self.list(key)?.iter().enumerate();
        let texts = elements.filter(|(_, element)| !element.is_null());
        texts
            .map(|(index, element)| match element {
                Value::String(text) => Ok(text.clone()),
                other => Err(self.wrong(&format!("{key}[{index}]"), "text", other)),
            })
            .collect()
    }

    /// A list; empty where there is none.
    pub(crate) fn list(&self, key: &str) -> Result<&'a [Value], PersonaError> {
        match self.value(key) {
            None => Ok(&[]),
            Some(Value::Array(elements)) => Ok(elements),
            Some(other) => Err(self.wrong(key, "a list", other)),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, PersonaError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, PersonaError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(self.wrong(key, "a number", other)),
        }
    }

    /// How many: a number, without its fraction, 0 where it is less, and no more than four thousand
    /// million.
    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, PersonaError> {
        Ok(self.number(key)?.map(whole))
    }

    /// An object; `None` where there is none.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, PersonaError> {
        let value = self.value(key);
        value
            .map(|value| Self::of(value, self.path(key)))
            .transpose()
    }

    /// An object that may be anything else: what other programs keep is theirs, so that no form of it
    /// is an error.
    pub(crate) fn foreign(&self, key: &str) -> Option<Self> {
        Self::of(self.value(key)?, self.path(key)).ok()
    }

    /// A number of another program.
    pub(crate) fn foreign_number(&self, key: &str) -> Option<f64> {
        self.value(key)?.as_f64()
    }

    /// A flag of another program.
    pub(crate) fn foreign_flag(&self, key: &str) -> Option<bool> {
        self.value(key)?.as_bool()
    }
}

/// A number as a count, whatever it is.
pub(crate) fn whole(number: f64) -> usize {
    number.clamp(0.0, f64::from(u32::MAX)) as usize
}

/// Whether a value says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
