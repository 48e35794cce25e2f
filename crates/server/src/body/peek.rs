//! The few fields of a request that have to be known before its model is at hand.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The few fields of a request that have to be known before its model is at hand, in any dialect.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Peek {
    /// The model that it names.
    pub(crate) model: Option<String>,
    /// Whether its answer is to be streamed.
    pub(crate) streams: bool,
    /// How long the model is to stay.
    pub(crate) keep_alive: Option<Value>,
    /// Whether there is something to answer: a prompt or messages.
    pub(crate) has_text: bool,
}

impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Peek;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Peek, A::Error> {
        let mut peek = Peek::default();
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "model" => peek.model = fields.next_value::<Shallow>()?.text(),
                "stream" => {
                    peek.streams = fields.next_value::<Shallow>()? == Shallow::Scalar(true.into());
                }
                "keep_alive" => {
                    peek.keep_alive = match fields.next_value()? {
                        Shallow::Scalar(value) => Some(value),
                        Shallow::Several { .. } => Some(Value::Array(Vec::new())),
                    };
                }
                "prompt" | "messages" => {
                    peek.has_text |= !fields.next_value::<Shallow>()?.is_empty()
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(peek)
    }
}

/// A value, of which lists and objects are not kept.
#[derive(Debug, PartialEq)]
enum Shallow {
    Scalar(Value),
    Several { are_none: bool },
}

impl Shallow {
    fn text(self) -> Option<String> {
        match self {
            Self::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(Value::String(text)) => text.is_empty(),
            Self::Scalar(value) => value.is_null(),
            Self::Several { are_none } => *are_none,
        }
    }
}

impl<'de> Deserialize<'de> for Shallow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Shallow;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(text.into()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(value.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(number.into()))
    }

    fn visit_unit<E>(self) -> Result<Shallow, E> {
        Ok(Shallow::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shallow, A::Error> {
        let mut are_none = true;
        while items.next_element::<IgnoredAny>()?.is_some() {
            are_none = false;
        }
        Ok(Shallow::Several { are_none })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Shallow, A::Error> {
        let mut are_none = true;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            are_none = false;
        }
        Ok(Shallow::Several { are_none })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(text: &str) -> Peek {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_says_which_model_is_meant_is_found_whatever_else_there_is() {
        let text = r#"{"messages": [{"role": "user", "content": [1, {"model": "no"}]}],
            "stream": true, "model": "m", "keep_alive": "5m"}"#;
        let expected = Peek {
            model: Some("m".to_owned()),
            streams: true,
            keep_alive: Some("5m".into()),
            has_text: true,
        };
        assert_eq!(peek(text), expected);
    }

    #[test]
    fn the_wrong_types_say_nothing() {
        for text in [
            r#"{"model": 5, "stream": "yes", "messages": null}"#,
            r#"{"model": ["m"], "stream": 1, "prompt": ""}"#,
            r#"{"model": {"m": 1}, "messages": []}"#,
            "{}",
        ] {
            assert_eq!(peek(text), Peek::default(), "{text}");
        }
        assert_eq!(peek(r#"{"keep_alive": 0}"#).keep_alive, Some(0.into()));
        assert!(serde_json::from_str::<Peek>("[]").unwrap_err().is_data());
    }
}
