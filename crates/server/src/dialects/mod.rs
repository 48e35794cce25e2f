//! The API dialects: each is a folder of wire types (`wire`), a pure converter from them to the
//! requests of [`crate::request`] (`convert`), and a pure encoder from generation events to its
//! responses and stream chunks (`stream`).

pub mod openai;
