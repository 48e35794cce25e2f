//! OpenAI's API, and the endpoints that vLLM put beside it.

pub mod answer;
mod chat;
mod completions;
pub mod convert;
mod embeddings;
pub(super) mod logprobs;
pub(super) mod models;
pub mod stream;
mod tokenize;
pub mod wire;

use axum::Router;
use axum::routing::post;
use tracing::Span;
use tracing::field::debug;

use crate::dialects::trace_user;
use crate::request_id::RequestId;
use crate::state::{AppState, SharedState};
pub(super) use embeddings::check_dimensions;
use wire::{DeliveryFields, Header};

/// The routes of this dialect.
pub fn router() -> Router<SharedState> {
    Router::new()
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/apply-template", post(tokenize::apply_template))
}

/// The header of an answer: its id is the request's, under the prefix of its kind.
fn header(state: &AppState, prefix: &str, object: &'static str, request_id: &RequestId) -> Header {
    Header {
        id: format!("{prefix}-{request_id}"),
        object,
        created: state.now(),
        model: state.model.names[0].clone(),
        system_fingerprint: state.model.fingerprint.clone(),
    }
}

/// Notes in the request's trace whom it is for, and the labels that it carries.
pub(super) fn trace_labels(fields: &DeliveryFields) {
    trace_user(fields.user.as_deref());
    if let Some(metadata) = &fields.metadata {
        Span::current().record("metadata", debug(metadata));
    }
}
