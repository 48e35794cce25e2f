//! `POST /api/pull` and `DELETE /api/delete`, where the server's owner lets clients do it. What is done
//! is the program's affair ([`ModelManagement`](crate::ModelManagement)); this is how it is told.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::wire::{DeleteRequest, PullRequest};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::management::{PullProgress, forbidden};
use crate::sse::{self, Framing};
use crate::state::AppState;

/// The name that a request is about.
fn named(model: Option<String>, name: Option<String>) -> Result<String, ApiError> {
    let named = model.or(name).filter(|name| !name.is_empty());
    let named = named.ok_or_else(|| ApiError::invalid("model", "`model` is missing."))?;
    Ok(named.trim_end_matches(":latest").to_owned())
}

/// Fetches a model.
pub(super) async fn pull(
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request: PullRequest = body.read()?;
    let model = named(request.model, request.name)?;
    let management = state.management.ok_or_else(forbidden)?;
    let (sender, progress) = watch::channel(PullProgress::default());
    let fetched = management.pull(model, sender);
    if request.stream == Some(false) {
        fetched.await.map_err(ApiError::bad_request)?;
        return Ok(Json(json!({"status": "success"})).into_response());
    }
    let first = stream::once(async { line(&json!({"status": "pulling manifest"})) });
    let told = stream::unfold(Some((fetched, progress)), |running| async move {
        let (mut fetched, mut progress) = running?;
        tokio::select! {
            biased;
            done = &mut fetched => {
                let last = match done {
                    Ok(()) => json!({"status": "success"}),
                    Err(reason) => json!({"error": reason}),
                };
                Some((line(&last), None))
            }
            Ok(()) = progress.changed() => {
                let PullProgress { completed, total } = *progress.borrow_and_update();
                let news = json!({
                    "status": "downloading", "digest": "", "total": total, "completed": completed,
                });
                Some((line(&news), Some((fetched, progress))))
            }
            // Nobody tells of progress any more.
            else => {
                let last = match fetched.await {
                    Ok(()) => json!({"status": "success"}),
                    Err(reason) => json!({"error": reason}),
                };
                Some((line(&last), None))
            }
        }
    });
    let body = Body::from_stream(first.chain(told).map(Ok::<_, Infallible>));
    Ok(sse::respond(body, Framing::Lines))
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

/// Deletes a model.
pub(super) async fn delete(
    State(state): State<AppState>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let request: DeleteRequest = body.read()?;
    let model = named(request.model, request.name)?;
    let management = state.management.ok_or_else(forbidden)?;
    let deleted = management.delete(model).boxed().await;
    deleted.map_err(|reason| ApiError::not_found("model", reason))?;
    Ok(StatusCode::OK)
}
