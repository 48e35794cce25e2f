//! The API dialects: each is a folder of wire types (`wire`), a pure converter from them to the
//! requests of [`crate::request`] (`convert`), and a pure encoder from generation events to its
//! responses and stream chunks (`stream`).

pub mod anthropic;
mod fields;
mod models;
pub mod ollama;
pub mod openai;
pub mod responses;
pub(crate) mod union;

use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use chrono::{DateTime, SecondsFormat};
use tracing::Span;

use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::state::SharedState;

/// Under this name Anthropic's clients look for the request's.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Longest name of a user that is traced, in characters; OpenAI allows 64.
const MAX_TRACED_USER: usize = 64;

/// The routes of all dialects.
pub(crate) fn router() -> Router<SharedState> {
    Router::new()
        .merge(openai::router())
        .merge(responses::router())
        .merge(anthropic::router())
        .merge(ollama::router())
        .merge(models::router())
}

/// Puts errors, whichever layer they come from, into the words of the dialect that was spoken.
pub(crate) async fn word_errors(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_anthropic = path == "/v1/messages"
        || path.starts_with("/v1/messages/")
        || models::is_anthropic(path, request.headers());
    let is_ollama = path.starts_with("/api/");
    let id = request
        .extensions()
        .get::<RequestId>()
        .map(RequestId::to_string);
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ApiError>();
    if is_ollama && let Some(error) = &error {
        response = reworded(response, ollama::error_body(error));
    }
    if is_anthropic {
        if let Some(error) = error {
            let body = anthropic::error_body(&error, id.as_deref());
            response = reworded(response, body);
        }
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }
    response
}

/// The same response with another body.
fn reworded(response: Response, body: serde_json::Value) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    let body = Json(body).into_response().into_body();
    Response::from_parts(parts, body)
}

/// A Unix time, in seconds, by RFC 3339.
fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Notes in the request's trace whom it is for.
pub(crate) fn trace_user(user: Option<&str>) {
    if let Some(user) = user {
        let user: String = user.chars().take(MAX_TRACED_USER).collect();
        Span::current().record("user", user);
    }
}
