//! A deserializer that reads JSON as strictly as an API has to. What serde derives is kinder in two
//! ways: it takes a list for the fields of an object in their order, and it skips what a type has no
//! field for. Here a list is no object, and a skipped field that [`Rules`] knows is an error.
//! Everything else is handed on as it is, from the outside in: each value that is reached through
//! this deserializer is read by it too.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::known::{KnownFields, Lookup, Names};

/// What is refused beside wrong types.
pub(super) struct Rules<'a> {
    /// The types that share out the fields of the outermost object between them.
    pub(super) parts: &'a [Names],
    /// Who knows about fields that a type does not have.
    pub(super) known: Lookup,
    /// Why a field was refused, to be said after its name. Its path is where the error is.
    pub(super) refused: RefCell<Option<String>>,
    /// Values that were read as whatever they are.
    pub(super) values: Cell<usize>,
    /// Numbers that were read as numbers.
    pub(super) numbers: Cell<usize>,
}

/// Most values of a request that are read as whatever they are: the parts of messages, of schemas and of
/// tools. Each takes a hundred bytes, of which two were sent.
const MAX_VALUES: usize = 1 << 18;
/// Most numbers that are read as numbers: the token ids of prompts. Each takes eight bytes.
const MAX_NUMBERS: usize = 1 << 21;

impl Rules<'_> {
    /// Counts a number.
    fn count_number<E: Error>(&self) -> Result<(), E> {
        self.numbers.set(self.numbers.get() + 1);
        match self.numbers.get() > MAX_NUMBERS {
            true => Err(E::custom(format!(
                "more than {MAX_NUMBERS} numbers in one request"
            ))),
            false => Ok(()),
        }
    }

    /// Counts a value.
    fn count<E: Error>(&self) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        match self.values.get() > MAX_VALUES {
            true => Err(E::custom(format!(
                "more than {MAX_VALUES} values in one request"
            ))),
            false => Ok(()),
        }
    }
}

/// A deserializer, or something on the way to one, under these rules.
pub(super) struct Strict<'r, T> {
    pub(super) inner: T,
    pub(super) rules: &'r Rules<'r>,
}

impl<'r, T> Strict<'r, T> {
    fn around<U>(rules: &'r Rules<'r>, inner: U) -> Strict<'r, U> {
        Strict { inner, rules }
    }
}

/// What a value is handed to.
struct Watch<'r, V> {
    visitor: V,
    rules: &'r Rules<'r>,
    /// The names of its fields, if it has to be an object.
    fields: Option<Names>,
}

impl<'r, T> Strict<'r, T> {
    fn watch<V>(&self, visitor: V, fields: Option<Names>) -> Watch<'r, V> {
        Watch {
            visitor,
            rules: self.rules,
            fields,
        }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.rules.count()?;
        let watch = self.watch(visitor, None);
        self.inner.deserialize_any(watch)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.rules.count_number()?;
        let watch = self.watch(visitor, None);
        self.inner.deserialize_any(watch)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let watch = self.watch(visitor, None);
        self.inner.deserialize_option(watch)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let watch = self.watch(visitor, None);
        self.inner.deserialize_newtype_struct(name, watch)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let watch = self.watch(visitor, Some(fields));
        self.inner.deserialize_struct(name, fields, watch)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: Names,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let watch = self.watch(visitor, None);
        self.inner.deserialize_enum(name, variants, watch)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_ignored_any(visitor)
    }

    // JSON says itself what it is.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Self::around(self.rules, json))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = Self::around(self.rules, seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Hands values on that need nothing else.
macro_rules! hand_on {
    ($($visit:ident: $type:ty),+) => {
        $(fn $visit<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$visit(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.fields {
            Some(_) => formatter.write_str("an object"),
            None => self.visitor.expecting(formatter),
        }
    }

    hand_on! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str,
        visit_borrowed_str: &'de str, visit_string: String
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<V::Value, D::Error> {
        let json = Strict::<D>::around(self.rules, json);
        self.visitor.visit_some(json)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, json: D) -> Result<V::Value, D::Error> {
        let json = Strict::<D>::around(self.rules, json);
        self.visitor.visit_newtype_struct(json)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        match self.fields {
            Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
            None => self
                .visitor
                .visit_seq(Strict::<A>::around(self.rules, list)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Fields {
            inner: map,
            rules: self.rules,
            object: self
                .fields
                .and_then(|fields| (self.rules.known)(fields, self.rules.parts)),
            skipped: None,
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(data)
    }
}

/// The fields of an object.
struct Fields<'r, A> {
    inner: A,
    rules: &'r Rules<'r>,
    /// What is known of objects that do its job, if there are others.
    object: Option<Box<dyn KnownFields>>,
    /// The field whose value comes next, if others have it and this object has not.
    skipped: Option<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(object) = &self.object else {
            return self.inner.next_key_seed(seed);
        };
        let Some(name) = self.inner.next_key::<String>()? else {
            return Ok(None);
        };
        self.skipped = object.skips(&name).then(|| name.clone());
        let name: StringDeserializer<A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let (Some(object), Some(name)) = (&self.object, self.skipped.take()) else {
            let seed = Strict::<S>::around(self.rules, seed);
            return self.inner.next_value_seed(seed);
        };
        let whatever = Strict::<PhantomData<Value>>::around(self.rules, PhantomData);
        let value: Value = self.inner.next_value_seed(whatever)?;
        // The seed is told, and not the caller: it knows the path.
        seed.deserialize(Skipped(match object.refusal(&name, &value) {
            Some(reason) => {
                let error = A::Error::custom(&reason);
                *self.rules.refused.borrow_mut() = Some(reason);
                Err(error)
            }
            None => Ok(()),
        }))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// In place of a value that was skipped, or of one that was refused.
struct Skipped<E>(Result<(), E>);

impl<'de, E: Error> Deserializer<'de> for Skipped<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        self.0?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
