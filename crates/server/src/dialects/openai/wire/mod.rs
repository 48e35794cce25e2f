//! OpenAI's JSON, field by field.
//!
//! Requests: every field is an `Option`, so that an explicit `null` means the default; unknown
//! fields are skipped; integers are read as `i64`, so that a negative one gets a message about its
//! range. Nothing is judged here: [`super::convert`] does that. Responses: fields in the order in
//! which OpenAI sends them, `null` where OpenAI sends `null`.

mod embeddings;
mod request;
mod response;

pub(crate) use embeddings::*;
pub(crate) use request::*;
pub(crate) use response::*;
