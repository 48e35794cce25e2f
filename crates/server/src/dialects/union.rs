//! JSON that is either a string or a list. An untagged enum would lose the path of an error inside
//! of the list.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// Plain text, or a list of what the dialect has for parts.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOr<T> {
    /// Plain text.
    Text(String),
    /// Typed parts.
    List(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let either = string_or_list(json, "a string or a list")?;
        Ok(either.map_or_else(Self::List, Self::Text))
    }
}

struct StringOrList<T> {
    expecting: &'static str,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for StringOrList<T> {
    type Value = Result<String, Vec<T>>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Ok(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Ok(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Err)
    }
}

/// Reads a string, or a list of `T`.
pub(crate) fn string_or_list<'de, D, T>(
    json: D,
    expecting: &'static str,
) -> Result<Result<String, Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    json.deserialize_any(StringOrList {
        expecting,
        element: PhantomData,
    })
}
