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

use axum::Router;
use axum::routing::post;

use crate::state::AppState;

/// The routes of this dialect.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/apply-template", post(tokenize::apply_template))
}
