//! Messages of a conversation.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use matou_history::{Message, NewMessage};
use serde_json::{Value, json};

use super::answers::with_messages;
use super::state::{HistoryState, no_message};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;

/// Adds a message, which its conversation ends with from then on.
pub(super) async fn add(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Message>, ApiError> {
    let (new, now): (NewMessage, u64) = (body.read()?, state.now());
    let added = state.with(move |history| history.add_message(&caller.owner, &id, &new, now));
    Ok(Json(added.await?))
}

/// A message with its log-probabilities, and with what was asked for where it is an answer.
pub(super) async fn detail(
    State(state): State<HistoryState>,
    caller: Caller,
    Path((id, message)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let mut detail = state.detail(&caller.owner, &id, &message).await?;
    if let (Some(request), Some(parent)) = (detail.request.take(), &detail.message.parent) {
        let (owner, parent) = (caller.owner, parent.clone());
        let most = state.limits.max_body_bytes as u64;
        let path = state.with(move |history| history.path(&owner, &id, &parent, most));
        detail.request = path.await?.map(|path| with_messages(request, &path));
    }
    Ok(crate::serving::tell(move || Json(detail).into_response()).await)
}

/// Deletes a message and all that follows it, for good. Answers among them that are being written end.
pub(super) async fn delete(
    State(state): State<HistoryState>,
    caller: Caller,
    Path((id, message)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (owner, conversation) = (caller.owner.clone(), id.clone());
    let (wanted, now) = (message.clone(), state.now());
    let deleted = state.with(move |history| {
        let below = history.message_ids_below(&owner, &conversation, Some(&wanted))?;
        let is_deleted = history.delete_message(&owner, &conversation, &wanted, now)?;
        Ok(is_deleted.then_some(below))
    });
    let below = deleted.await?.ok_or_else(|| no_message(&message))?;
    let is_gone = |written: &str| written == message || below.iter().any(|id| id == written);
    state.runs.forget(&caller.owner, Some(&id), is_gone);
    Ok(Json(
        json!({"id": message, "object": "history.message", "deleted": true}),
    ))
}
