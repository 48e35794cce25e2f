//! OpenAI's API, and the endpoints that vLLM put beside it.

pub(crate) mod answer;
mod chat;
mod completion_logprobs;
mod completions;
pub(crate) mod convert;
mod embeddings;
mod header;

pub(super) mod models;
pub(crate) mod stream;
mod tokenize;
pub(crate) mod wire;

pub(crate) use chat::prepare as prepare_chat;
pub(crate) use header::header;

use axum::Router;
use axum::routing::{get, post};

use super::shared::paths::VersionedRoutes;
use crate::state::AppState;

/// The routes of this dialect.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/chat/completions", post(chat::create))
        .versioned("/completions", post(completions::create))
        .versioned("/embeddings", post(embeddings::create))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/tokenizer_info", get(tokenize::tokenizer_info))
        .route("/apply-template", post(tokenize::apply_template))
}
