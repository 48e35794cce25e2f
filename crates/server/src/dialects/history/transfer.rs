//! Conversations taken along: exported, and read in.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use matou_history::{HistoryError, ImportedConversation, markdown};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::asked::Several;
use super::state::HistoryState;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;

/// Pieces of an export that wait to be sent.
const AHEAD: usize = 1;

/// In which form a conversation is wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Form {
    format: Option<String>,
}

/// A conversation as a file.
pub(super) async fn export(
    State(state): State<HistoryState>,
    caller: Caller,
    Path(id): Path<String>,
    form: Result<Query<Form>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(form) = form.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let is_markdown = match form.format.as_deref() {
        None | Some("json") => false,
        Some("markdown" | "md") => true,
        Some(_) => {
            let message = "Invalid value for `format`: it is `json` or `markdown`.";
            return Err(ApiError::invalid("format", message));
        }
    };
    let whole = state.whole(&caller.owner, &id).await?;
    let told = crate::serving::tell(move || match is_markdown {
        true => {
            let leaf = whole.conversation.leaf.as_deref();
            let text = markdown(&whole.conversation, &whole.messages, leaf);
            (attached("text/markdown; charset=utf-8", "md"), text).into_response()
        }
        false => {
            let all = json!({"object": "history.export", "version": 1, "conversations": [whole]});
            (attached("application/json", "json"), all.to_string()).into_response()
        }
    });
    Ok(told.await)
}

/// The head of a file to be saved.
fn attached(media_type: &'static str, ending: &str) -> [(header::HeaderName, String); 2] {
    let name = format!("attachment; filename=\"matou-conversation.{ending}\"");
    [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ]
}

/// All conversations of a client as a file, one after the other: they need not fit into memory.
pub(super) async fn export_all(
    State(state): State<HistoryState>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let history = state.history()?;
    let place = Arc::clone(&state.exports).try_acquire_owned();
    let place = place.map_err(|_| {
        let message = "Others are exporting their conversations; try again later.";
        ApiError::overloaded(message, Duration::from_secs(5))
    })?;
    let (send, receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(AHEAD);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let opening = "{\"object\":\"history.export\",\"version\":1,\"conversations\":[";
        let put = |text: String| send.blocking_send(Ok(text.into())).is_ok();
        if !put(opening.to_owned()) {
            return;
        }
        let mut comma = "";
        let exported = history.export(&caller.owner, |whole| {
            let text = serde_json::to_string(&whole).map_err(Broken::from)?;
            let goes_on = put(format!("{comma}{text}"));
            comma = ",\n";
            goes_on.then_some(()).ok_or(Broken::Gone)
        });
        match exported {
            Ok(()) => {
                put("]}\n".to_owned());
            }
            Err(Broken::Gone) => {}
            // The file is cut short, and its reader sees that the connection broke.
            Err(Broken::Unreadable(error)) => {
                tracing::error!("an export ends early: {error}");
                let _ = send.blocking_send(Err(std::io::Error::other(error)));
            }
        }
    });
    let pieces = futures_util::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|piece| (piece, receive))
    });
    let head = attached("application/json", "json");
    Ok((head, Body::from_stream(pieces.boxed())).into_response())
}

/// Why an export ends early.
enum Broken {
    /// Who reads it has gone.
    Gone,
    Unreadable(String),
}

impl From<HistoryError> for Broken {
    fn from(error: HistoryError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Reads conversations in that were exported here or elsewhere.
pub(super) async fn import(
    State(state): State<HistoryState>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    // Where nothing is kept, nothing is read either.
    state.history()?;
    let read = state.door.compute(&caller, move |_| {
        let (several, one): (Several, ImportedConversation) = body.read()?;
        Ok(several.conversations.unwrap_or_else(|| vec![one]))
    });
    let (conversations, now) = (read.await?, state.now());
    let made = state.with(move |history| history.import_all(&caller.owner, &conversations, now));
    let ids: Vec<String> = made.await?.into_iter().map(|made| made.id).collect();
    Ok(Json(
        json!({"object": "history.import", "imported": ids.len(), "ids": ids}),
    ))
}
