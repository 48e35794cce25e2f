//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::answer::chat_completion;
use super::convert::chat_call;
use super::stream::ChatEncoder;
use super::wire::SharedFields;
use super::{header, trace_labels};
use crate::body::JsonBody;
use crate::conversation::Conversation;
use crate::error::ApiError;
use crate::generation::{begin, collect};
use crate::request::ResponseOptions;
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};

/// Answers a conversation.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (conversation, response) = state.compute(move |state| prepare(state, &body)).await?;
    let format = conversation.format.clone();
    let n = conversation.options.n;
    let logprobs = conversation.options.sampling.logprobs.is_some();
    let events = conversation.start(&state, &request_id, "messages")?;
    if response.stream {
        let events = begin(events, state.limits.keep_alive).await?;
        let header = header(&state, "chatcmpl", "chat.completion.chunk", &request_id);
        let encoder = ChatEncoder::new(header, n, &format, logprobs, response);
        Ok(sse::response(events, encoder, state.limits.keep_alive))
    } else {
        let header = header(&state, "chatcmpl", "chat.completion", &request_id);
        let collected = collect(events, n).await?;
        let timings = response.timings;
        let answer = chat_completion(header, &format, logprobs, timings, collected);
        Ok(Json(answer).into_response())
    }
}

fn prepare(state: &AppState, body: &JsonBody) -> Result<(Conversation, ResponseOptions), ApiError> {
    let defaults = &state.model.default_sampling;
    let (wire, shared): (_, SharedFields) = body.read()?;
    let call = chat_call(wire, &shared, defaults)?;
    trace_labels(&shared.delivery);
    let response = call.response;
    Ok((Conversation::prepare(state, call)?, response))
}
