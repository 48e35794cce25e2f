//! The API dialects: each is a folder of wire types (`wire`), a pure converter from them to the
//! requests of [`matou_llm::request`] (`convert`), and a pure encoder from generation events to its
//! responses and stream chunks (`stream`).

pub(crate) mod adapters;
pub(crate) mod anthropic;
pub(crate) mod history;
mod known;
pub(crate) mod management;
mod models;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod personas;
pub(crate) mod responses;
pub(crate) mod shared;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};

use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::sse::Frames;
use crate::state::AppState;
pub(crate) use history::Runs;
pub use known::known_fields;
pub(crate) use responses::ResponseStore;
use shared::paths::without_version;

/// Under this name Anthropic's clients look for the request's.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The routes of all dialects.
pub(crate) fn router(state: &AppState) -> Router<AppState> {
    Router::new()
        .merge(openai::router())
        .merge(responses::router(state))
        .merge(anthropic::router())
        .merge(ollama::router())
        .merge(models::router())
        .merge(management::router())
        .merge(adapters::router())
        .merge(personas::router())
        .merge(history::router())
}

/// Puts errors, whichever layer they come from, into the words of the dialect that was spoken.
pub(crate) async fn word_errors(request: Request, next: Next) -> Response {
    let path = without_version(request.uri().path());
    let is_anthropic = path == "/messages"
        || path.starts_with("/messages/")
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

/// How an error is told in a stream that has begun, by the dialect of a path; `None` where there are
/// no such streams.
pub(crate) fn error_frames(path: &str) -> Option<fn(&ApiError) -> Bytes> {
    let path = without_version(path);
    match path {
        // Answers of a conversation are streamed as chat completions are.
        _ if path.starts_with("/history/") && path.ends_with("/answers") => Some(openai_frames),
        "/chat/completions" | "/completions" => Some(openai_frames),
        "/messages" => Some(|error| {
            let mut frames = Frames::default();
            frames.event("error", &anthropic::error_body(error, None));
            frames.into_bytes()
        }),
        "/responses" => Some(|error| {
            let mut frames = Frames::default();
            frames.event("error", &responses::error_event(error));
            frames.into_bytes()
        }),
        _ => None,
    }
}

fn openai_frames(error: &ApiError) -> Bytes {
    let mut frames = Frames::default();
    frames.data(&error.body());
    frames.done();
    frames.into_bytes()
}

/// The same response with another body.
fn reworded(response: Response, body: serde_json::Value) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    let body = Json(body).into_response().into_body();
    Response::from_parts(parts, body)
}
