//! Reading a request's body.
//!
//! The body is JSON whatever its `Content-Type` says: `curl -d` without a header sends a form's
//! type, and refusing it would help nobody. Reading is split from parsing: bytes arrive on an async
//! worker, while parsing a body of megabytes belongs with the other computing
//! (`Serving::compute`).
//!
//! Several types may share out the fields of one object between them, as endpoints do that have
//! fields in common: each is read for itself, so that errors keep the path that `#[serde(flatten)]`
//! would lose.

mod known;
mod peek;
mod receive;
mod strict;

use std::cell::{Cell, RefCell};

use axum::extract::{FromRef, FromRequest, Request};
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::limits::Limits;
pub(crate) use known::{KnownFields, Lookup, Names};
pub(crate) use peek::Peek;
pub(crate) use receive::BodyBudget;
use receive::{Share, receive};
use strict::{Rules, Strict};

/// Longest body that is read as whatever it is: each of its bytes takes up to thirty.
const MAX_OBJECT: usize = 1 << 20;

/// The bytes of a request that should be JSON, with the room that they take.
#[derive(Debug)]
pub(crate) struct JsonBody {
    bytes: Vec<u8>,
    share: Share,
}

impl<S> FromRequest<S> for JsonBody
where
    S: Send + Sync,
    Limits: FromRef<S>,
    BodyBudget: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (limits, budget) = (Limits::from_ref(state), BodyBudget::from_ref(state));
        let (bytes, share) = receive(request, &limits, &budget).await?;
        Ok(Self { bytes, share })
    }
}

impl JsonBody {
    /// A body that has come some other way.
    #[cfg(test)]
    pub(crate) fn of(text: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: text.into(),
            share: BodyBudget::default().share(matou_engine::ClientId::ANYBODY),
        }
    }

    /// The body as it came: of the few requests that carry files.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The same request with another body.
    ///
    /// # Errors
    ///
    /// When it is too large, and when the bodies of all requests leave no room for it.
    pub(crate) fn replaced(mut self, bytes: Vec<u8>, limits: &Limits) -> Result<Self, ApiError> {
        if bytes.len() > limits.max_body_bytes {
            return Err(ApiError::payload_too_large(limits.max_body_bytes));
        }
        if !self.share.grow_to(bytes.len(), limits.max_bodies_bytes) {
            return Err(receive::no_room());
        }
        self.bytes = bytes;
        Ok(self)
    }

    /// The object that it is, as it is.
    ///
    /// # Errors
    ///
    /// Line and column, if this is not JSON; when it is no object, and when it is too large to be read
    /// as whatever it is.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, ApiError> {
        if self.bytes.len() > MAX_OBJECT {
            return Err(ApiError::payload_too_large(MAX_OBJECT));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| explain(".", &error, None))
    }

    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Looks at what says which model the request is for. What has the wrong type is passed over here,
    /// and told by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Line and column, if this is not JSON.
    pub(crate) fn peek(&self) -> Result<Peek, ApiError> {
        match serde_json::from_slice(&self.bytes) {
            Ok(peek) => Ok(peek),
            Err(error) if error.is_data() => Ok(Peek::default()),
            Err(error) => Err(explain(".", &error, None)),
        }
    }

    /// Parses the body. A list is no object, and a field that is known elsewhere and is none of
    /// `T`'s is refused; other unknown fields are skipped.
    ///
    /// # Errors
    ///
    /// What is wrong and where: line and column if this is not JSON, the path of the field if its
    /// type is wrong or if it is refused.
    pub(crate) fn read<T: Fields>(&self) -> Result<T, ApiError> {
        read("", Json::Text(&self.bytes))
    }
}

/// Reads an object that came as the field `inside` of another.
///
/// # Errors
///
/// As of [`JsonBody::read`].
pub(crate) fn read_object<T: Fields>(inside: &str, object: &Value) -> Result<T, ApiError> {
    read(inside, Json::Value(object))
}

fn read<T: Fields>(inside: &str, json: Json<'_>) -> Result<T, ApiError> {
    T::read(&Source {
        json,
        inside,
        parts: &T::names(),
        known: T::known(),
    })
}

/// What an object is read as: a wire type, or several that share out its fields between them.
pub(crate) trait Fields: Sized {
    /// The names of the fields, type by type.
    fn names() -> Vec<Names>;

    /// Who knows about fields that the type does not have.
    fn known() -> Lookup;

    /// Reads them.
    fn read(source: &Source<'_>) -> Result<Self, ApiError>;
}

/// Types that are read from one object.
macro_rules! together {
    ($($part:ident),+) => {
        impl<$($part: Fields),+> Fields for ($($part,)+) {
            fn names() -> Vec<Names> {
                [$($part::names()),+].concat()
            }

            fn known() -> Lookup {
                A::known()
            }

            fn read(source: &Source<'_>) -> Result<Self, ApiError> {
                Ok(($($part::read(source)?,)+))
            }
        }
    };
}

together!(A, B);
together!(A, B, C);

/// Types that are no requests for an answer: none of the fields of those is looked for in them.
macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        $(impl crate::body::Fields for $type {
            fn names() -> Vec<crate::body::Names> {
                Vec::new()
            }

            fn known() -> crate::body::Lookup {
                |_, _| None
            }

            fn read(source: &crate::body::Source<'_>) -> Result<Self, crate::error::ApiError> {
                source.read()
            }
        })+
    };
}

pub(crate) use plain;

/// An object to be read, one type after the other.
pub(crate) struct Source<'a> {
    json: Json<'a>,
    /// The field that it is of another object, if it is.
    inside: &'a str,
    parts: &'a [Names],
    known: Lookup,
}

#[derive(Clone, Copy)]
enum Json<'a> {
    Text(&'a [u8]),
    Value(&'a Value),
}

impl Source<'_> {
    /// Reads one of the types.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        match self.json {
            Json::Value(value) => self.read_from(value),
            Json::Text(text) => {
                let mut json = serde_json::Deserializer::from_slice(text);
                let value = self.read_from(&mut json)?;
                json.end().map_err(|error| explain(".", &error, None))?;
                Ok(value)
            }
        }
    }

    fn read_from<'de, T, D>(&self, inner: D) -> Result<T, ApiError>
    where
        T: DeserializeOwned,
        D: Deserializer<'de, Error = serde_json::Error>,
    {
        let rules = Rules {
            parts: self.parts,
            known: self.known,
            refused: RefCell::default(),
            values: Cell::default(),
            numbers: Cell::default(),
        };
        let json = Strict {
            inner,
            rules: &rules,
        };
        serde_path_to_error::deserialize(json).map_err(|error| {
            let path = match (self.inside, error.path().to_string()) {
                ("", path) => path,
                (inside, path) if path == "." => inside.to_owned(),
                (inside, path) => format!("{inside}.{path}"),
            };
            explain(&path, error.inner(), rules.refused.take())
        })
    }
}

fn explain(path: &str, error: &serde_json::Error, refused: Option<String>) -> ApiError {
    if let Some(reason) = refused {
        return ApiError::unsupported(path, format!("`{path}` {reason}."));
    }
    match error.classify() {
        Category::Data if path != "." => ApiError::wrong_type(
            path,
            format!("Invalid value for `{path}`: {}.", without_position(error)),
        ),
        Category::Data => {
            ApiError::bad_request(format!("Invalid request: {}.", without_position(error)))
        }
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::bad_request(format!("The request body is not valid JSON: {error}."))
        }
    }
}

/// serde_json closes its messages with ` at line 1 column 27`, which says less than the path that
/// we give.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message
        .strip_suffix(&position)
        .unwrap_or(&message)
        .to_owned()
}

#[cfg(test)]
mod tests;
