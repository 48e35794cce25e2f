//! OpenAI's Responses API. Responses are kept in memory, so that others can follow them.

mod answer;
pub mod convert;
mod store;
mod stream;
pub mod wire;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::body::JsonBody;
use crate::conversation::Conversation;
use crate::dialects::openai::trace_labels;
use crate::dialects::openai::wire::SharedFields;
use crate::error::ApiError;
use crate::generation::begin;
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};
use answer::ResponseBuilder;
use convert::{ResponseFormat, ResponsesCall, answer_message, responses_call};
pub(crate) use store::ResponseStore;
use store::StoredResponse;
use stream::ResponseEncoder;
use wire::{EchoedFields, ResponseObject, ResponsesRequest};

/// The routes of this dialect.
pub(super) fn router() -> Router<SharedState> {
    Router::new()
        .route("/v1/responses", post(create))
        .route("/v1/responses/{id}", get(retrieve).delete(delete))
}

/// Answers a conversation.
async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Prepared {
        conversation,
        history,
        response,
        format,
        stream,
    } = state
        .compute(move |state| {
            let fields = body.read()?;
            prepare(state, fields).map_err(in_words_of_this_dialect)
        })
        .await?;
    let tokenizer = Arc::clone(&state.tokenizer);
    let count_tokens = Box::new(move |text: &str| {
        let tokens = tokenizer.encode(text, matou_chat::SpecialTokens::Plain, false);
        tokens.map_or(0, |tokens| tokens.len())
    });
    let is_kept = format.store;
    let message_format = &conversation.format;
    let mut builder = ResponseBuilder::new(response, format, message_format, count_tokens, stream);
    let mut events = conversation.start(&state, &request_id, "input")?;
    let keep = {
        let state = Arc::clone(&state);
        move |response: &ResponseObject| {
            if is_kept {
                keep(&state, response, history);
            }
        }
    };
    if stream {
        let events = begin(events, state.limits.keep_alive).await?;
        let encoder = ResponseEncoder::new(builder, Box::new(keep));
        return Ok(sse::response(events, encoder, state.limits.keep_alive));
    }
    while let Some(event) = events.next().await {
        builder.accept(event)?;
    }
    keep(builder.response());
    Ok(Json(builder.response()).into_response())
}

/// A request that is ready for the engine.
struct Prepared {
    conversation: Conversation,
    history: Vec<Value>,
    response: ResponseObject,
    format: ResponseFormat,
    stream: bool,
}

fn prepare(
    state: &AppState,
    (wire, shared, echoed): (ResponsesRequest, SharedFields, EchoedFields),
) -> Result<Prepared, ApiError> {
    trace_labels(&shared.delivery);
    let previous = match &wire.previous_response_id {
        None => None,
        Some(id) => Some(state.responses.get(id).ok_or_else(|| {
            let message = format!("Previous response with id '{id}' not found.");
            ApiError::not_kept("previous_response_id", message)
        })?),
    };
    let messages = previous
        .as_ref()
        .map_or(&[][..], |previous| &previous.messages);
    let previous_response_id = wire.previous_response_id.clone();
    let parallel_tool_calls = wire.parallel_tool_calls.unwrap_or(true);
    let defaults = &state.model.default_sampling;
    let ResponsesCall {
        chat,
        history,
        format,
    } = responses_call(wire, shared, messages, defaults)?;
    let sampling = &chat.options.sampling;
    let response = ResponseObject {
        id: format!("resp_{}", Uuid::new_v4().simple()),
        object: "response",
        created_at: state.now(),
        status: "in_progress",
        background: false,
        error: None,
        incomplete_details: None,
        instructions: echoed.instructions,
        max_output_tokens: sampling.max_tokens,
        model: state.model.names[0].clone(),
        output: Vec::new(),
        parallel_tool_calls,
        previous_response_id,
        reasoning: echoed
            .reasoning
            .unwrap_or_else(|| json!({"effort": null, "summary": null})),
        service_tier: "default",
        store: format.store,
        temperature: sampling.temperature,
        text: echoed
            .text
            .unwrap_or_else(|| json!({"format": {"type": "text"}})),
        tool_choice: echoed.tool_choice.unwrap_or_else(|| "auto".into()),
        tools: echoed.tools.unwrap_or_else(|| json!([])),
        top_logprobs: sampling.logprobs.unwrap_or(0),
        top_p: sampling.top_p,
        truncation: "disabled",
        usage: None,
        user: echoed.user,
        metadata: echoed.metadata.unwrap_or_else(|| json!({})),
    };
    let stream = chat.response.stream;
    Ok(Prepared {
        conversation: Conversation::prepare(state, chat)?,
        history,
        response,
        format,
        stream,
    })
}

/// Keeps a response that has ended, to be fetched and followed.
fn keep(state: &AppState, response: &ResponseObject, mut messages: Vec<Value>) {
    messages.push(answer_message(&response.output));
    let id = response.id.clone();
    let response = serde_json::to_value(response).expect("wire types serialise");
    state
        .responses
        .insert(id, StoredResponse { response, messages });
}

/// A response that was kept.
async fn retrieve(
    State(state): State<SharedState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let stored = state.responses.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(stored.response.clone()))
}

/// Deletes a response that was kept.
async fn delete(
    State(state): State<SharedState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match state.responses.delete(&id) {
        true => Ok(Json(
            json!({"id": id, "object": "response", "deleted": true}),
        )),
        false => Err(unknown(&id)),
    }
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found("id", format!("Response with id '{id}' not found."))
}

/// Fields that are called differently here.
fn in_words_of_this_dialect(error: ApiError) -> ApiError {
    error
        .renamed("messages", "input")
        .renamed("reasoning_effort", "reasoning.effort")
}
