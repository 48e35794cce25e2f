//! `GET /v1/models` and `GET /v1/models/{id}`, a path that two dialects have. Anthropic's clients say
//! with each request which version of their API they mean; all others mean OpenAI's.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::anthropic::models::{self as of_anthropic, PageQuery};
use super::openai::models as of_openai;
use super::shared::paths::VersionedRoutes;
use crate::error::ApiError;
use crate::state::AppState;
use matou_llm::models::Models;

/// The header that Anthropic's clients send.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// The routes of this module.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/models", get(list))
        // A model's name may have slashes in it.
        .versioned("/models/{*id}", get(retrieve))
}

/// Whether a request for models is one of Anthropic's. The path comes without its version.
pub(super) fn is_anthropic(path: &str, headers: &HeaderMap) -> bool {
    (path == "/models" || path.starts_with("/models/")) && headers.contains_key(ANTHROPIC_VERSION)
}

/// All names under which models are served.
async fn list(
    State(models): State<Models>,
    headers: HeaderMap,
    page: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    if !headers.contains_key(ANTHROPIC_VERSION) {
        return Ok(of_openai::list(&models).into_response());
    }
    let Query(page) = page.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(of_anthropic::list(&models, &page)?.into_response())
}

/// One of them.
async fn retrieve(
    State(models): State<Models>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(match headers.contains_key(ANTHROPIC_VERSION) {
        true => of_anthropic::retrieve(&models, &id)?.into_response(),
        false => of_openai::retrieve(&models, &id)?.into_response(),
    })
}
