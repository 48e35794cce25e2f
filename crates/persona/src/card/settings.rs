//! What a card says to this server: `extensions.matou` of JSON cards.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;
use super::name;
use crate::error::PersonaError;
use crate::limits::MAX_STOPS;

/// What becomes of system messages that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemMessages {
    /// They are added to what the persona is told.
    #[default]
    Add,
    /// A conversation with one is refused.
    Refuse,
}

/// How answers are chosen where a request does not say it itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token always; up to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Share of probability that tokens are chosen from, above 0 up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are chosen from, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Least share of the likeliest token's probability, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Above 1 discourages tokens that occurred, above 0 up to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// Taken from a token's logit for each time it occurred, from -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Taken from a token's logit if it occurred, from -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Makes choices repeatable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Tokens of an answer, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// All of `extensions.matou`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) system_messages: SystemMessages,
    pub(crate) user_name: Option<String>,
    pub(crate) stop: Vec<String>,
    pub(crate) sampling: Sampling,
}

/// Fields of `extensions.matou` and of its `sampling`.
const KNOWN: [&str; 6] = [
    "id",
    "model",
    "system_messages",
    "user_name",
    "stop",
    "sampling",
];
const KNOWN_SAMPLING: [&str; 9] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "max_tokens",
];

impl Settings {
    /// Reads the extension, which may be missing. Unknown fields are kept where they are.
    pub(crate) fn read(matou: Option<Fields<'_>>) -> Result<Self, PersonaError> {
        let Some(fields) = matou else {
            return Ok(Self::default());
        };
        let system_messages = match fields.filled("system_messages")?.as_deref() {
            None | Some("add") => SystemMessages::Add,
            Some("refuse") => SystemMessages::Refuse,
            Some(other) => {
                let problem = format!("must be \"add\" or \"refuse\", not {other:?}");
                return Err(fields.invalid("system_messages", problem));
            }
        };
        let mut stop = fields.texts("stop")?;
        stop.retain(|stop| !stop.is_empty());
        if stop.len() > MAX_STOPS {
            return Err(PersonaError::TooMany {
                path: fields.path("stop"),
                count: stop.len(),
                limit: MAX_STOPS,
            });
        }
        Ok(Self {
            id: model_name(&fields, "id")?,
            model: model_name(&fields, "model")?,
            system_messages,
            user_name: name::read(&fields, "user_name")?,
            stop,
            sampling: Sampling::read(fields.object("sampling")?)?,
        })
    }

    /// Paths of fields that nothing is known of.
    pub(crate) fn unknown(matou: &Fields<'_>) -> Vec<String> {
        let beside = |fields: &Fields<'_>, known: &[&str]| -> Vec<String> {
            let unknown = fields.keys().filter(|key| !known.contains(key));
            unknown.map(|key| fields.path(key)).collect()
        };
        let mut unknown = beside(matou, &KNOWN);
        if let Some(sampling) = matou.foreign("sampling") {
            unknown.extend(beside(&sampling, &KNOWN_SAMPLING));
        }
        unknown
    }
}

/// A name that a request can ask for.
fn model_name(fields: &Fields<'_>, key: &str) -> Result<Option<String>, PersonaError> {
    let found = name::read(fields, key)?;
    match found {
        Some(name) if name.contains(char::is_whitespace) => Err(fields.invalid(
            key,
            "is a model name and must not have blanks: use `-` instead",
        )),
        found => Ok(found),
    }
}

impl Sampling {
    fn read(sampling: Option<Fields<'_>>) -> Result<Self, PersonaError> {
        let Some(fields) = sampling else {
            return Ok(Self::default());
        };
        let within = |key: &str, low: f64, high: f64| match fields.number(key)? {
            Some(number) if !(low..=high).contains(&number) => {
                let problem = format!("must be between {low} and {high}, not {number}");
                Err(fields.invalid(key, problem))
            }
            number => Ok(number),
        };
        let above = |key: &str, high: f64| match within(key, 0.0, high)? {
            Some(0.0) => Err(fields.invalid(key, "must be greater than 0")),
            number => Ok(number),
        };
        let whole = |key: &str, low: u64, high: u64| -> Result<Option<u64>, PersonaError> {
            match fields.value(key) {
                None => Ok(None),
                Some(Value::Number(number)) => match as_whole(number) {
                    Some(whole) if (low..=high).contains(&whole) => Ok(Some(whole)),
                    _ => {
                        let problem = format!(
                            "must be a whole number between {low} and {high}, not {number}"
                        );
                        Err(fields.invalid(key, problem))
                    }
                },
                Some(other) => Err(fields.wrong(key, "a number", other)),
            }
        };
        let narrow = |key: &str| {
            let found = whole(key, 1, u64::from(u32::MAX))?;
            Ok::<_, PersonaError>(found.and_then(|found| u32::try_from(found).ok()))
        };
        Ok(Self {
            temperature: within("temperature", 0.0, 100.0)?,
            top_p: above("top_p", 1.0)?,
            top_k: narrow("top_k")?,
            min_p: within("min_p", 0.0, 1.0)?,
            repetition_penalty: above("repetition_penalty", 100.0)?,
            frequency_penalty: within("frequency_penalty", -2.0, 2.0)?,
            presence_penalty: within("presence_penalty", -2.0, 2.0)?,
            seed: whole("seed", 0, u64::MAX)?,
            max_tokens: narrow("max_tokens")?,
        })
    }
}

/// A number without a fraction; other programs write whole ones as floats too.
fn as_whole(number: &serde_json::Number) -> Option<u64> {
    let float = || {
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && *float >= 0.0)
    };
    number
        .as_u64()
        .or_else(|| float().map(|float| float as u64))
}
