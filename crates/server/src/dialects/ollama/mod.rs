//! Ollama's API. Models are fetched and deleted where the server's owner allows it; none is created.

mod answer;
pub(crate) mod convert;
mod embed;
mod management;
mod models;
mod stream;
pub(crate) mod wire;

use axum::Router;
use axum::routing::{delete, get, post};
use serde_json::Value;

use crate::error::ApiError;
use crate::state::AppState;

/// The routes of this dialect.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/chat", post(answer::chat))
        .route("/api/generate", post(answer::generate))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/version", get(models::version))
        .route("/api/pull", post(management::pull))
        .route("/api/delete", delete(management::delete))
}

/// An error in Ollama's shape.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let message = match error.context_length() {
        // In Ollama's words, for which clients look.
        Some((prompt, max)) => {
            format!("the input length exceeds the context length: {prompt} tokens > {max} maximum")
        }
        None => error.to_string(),
    };
    serde_json::json!({"error": message})
}
