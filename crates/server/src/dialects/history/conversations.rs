//! Conversations: listed, searched, made, changed, deleted.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use matou_history::{Changes, Conversation, Listing, NewConversation, WholeConversation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::Pending;
use super::state::{HistoryState, no_conversation};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;

/// Conversations of a page of the list, unless it is said.
const PAGE: usize = 50;

/// Which conversations are wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    after: Option<String>,
    folder: Option<String>,
    q: Option<String>,
}

pub(super) async fn list(
    State(state): State<HistoryState>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let listing = Listing {
        limit: query.limit.unwrap_or(PAGE).clamp(1, matou_history::LISTED),
        after: given(query.after),
        folder: given(query.folder),
        text: given(query.q),
    };
    let listed = state
        .with(move |history| history.list(&caller.owner, &listing))
        .await?;
    let last_id = listed.data.last().map(|last| last.id.clone());
    Ok(Json(json!({
        "object": "list",
        "data": listed.data,
        "has_more": listed.has_more,
        "last_id": last_id,
        "folders": listed.folders,
    })))
}

pub(super) async fn create(
    State(state): State<HistoryState>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Conversation>, ApiError> {
    let (new, now): (NewConversation, u64) = (body.read()?, state.now());
    let made = state.with(move |history| history.create(&caller.owner, &new, now));
    Ok(Json(made.await?))
}

/// A conversation, and the answers in it that have no message yet.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    whole: WholeConversation,
    pending: Vec<Pending>,
}

/// A conversation with all its messages.
pub(super) async fn whole(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    // Looked at first: an answer that begins meanwhile is then in the one or in the other.
    let pending = state.runs.pending(&caller.owner, &id);
    let whole = state.whole(&caller.owner, &id).await?;
    let whole = Told { whole, pending };
    // Some megabytes, perhaps.
    Ok(crate::serving::tell(move || Json(whole).into_response()).await)
}

pub(super) async fn update(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Conversation>, ApiError> {
    let (changes, now): (Changes, u64) = (body.read()?, state.now());
    let updated = state.with(move |history| history.update(&caller.owner, &id, &changes, now));
    Ok(Json(updated.await?))
}

/// Deletes a conversation for good.
pub(super) async fn delete(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (wanted, owner) = (id.clone(), caller.owner.clone());
    let deleted = state.with(move |history| history.delete(&owner, &wanted));
    if !deleted.await? {
        return Err(no_conversation(&id));
    }
    state.runs.forget(&caller.owner, Some(&id), |_| true);
    Ok(Json(
        json!({"id": id, "object": "history.conversation", "deleted": true}),
    ))
}

/// Deletes all that a client has here.
pub(super) async fn delete_all(
    State(state): State<HistoryState>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let owner = caller.owner.clone();
    let deleted = state.with(move |history| history.delete_all(&owner));
    let count = deleted.await?;
    state.runs.forget(&caller.owner, None, |_| true);
    Ok(Json(
        json!({"object": "history", "deleted": true, "count": count}),
    ))
}
