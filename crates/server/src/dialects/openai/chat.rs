//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::answer::chat_completion;
use super::convert::{ChatCall, chat_call};
use super::stream::ChatEncoder;
use super::{header, trace_labels};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::generation::{begin, collect};
use crate::prompt::{resolve_sampling, tokenize_chat};
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};

/// Answers a conversation.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (call, prompt_token_ids) = state.compute(move |state| prepare(state, &body)).await?;
    let ChatCall {
        options, response, ..
    } = call;
    let generation = state.submit(
        request_id.to_string(),
        prompt_token_ids,
        &options,
        0,
        "messages",
    )?;
    let events = state.until_cut(generation.into_stream());
    let logprobs = options.sampling.logprobs.is_some();
    if response.stream {
        let events = begin(events, state.limits.keep_alive).await?;
        let header = header(&state, "chatcmpl", "chat.completion.chunk", &request_id);
        let encoder = ChatEncoder::new(header, options.n, logprobs, response.include_usage);
        Ok(sse::response(events, encoder, state.limits.keep_alive))
    } else {
        let header = header(&state, "chatcmpl", "chat.completion", &request_id);
        let collected = collect(events, options.n).await?;
        Ok(Json(chat_completion(header, logprobs, collected)).into_response())
    }
}

fn prepare(state: &AppState, body: &JsonBody) -> Result<(ChatCall, Vec<u32>), ApiError> {
    let defaults = &state.model.default_sampling;
    let shared = body.parse()?;
    let mut call = chat_call(body.parse()?, &shared, body.parse()?, defaults)?;
    trace_labels(&shared);
    state.check_model(call.model.as_deref())?;
    let prompt_token_ids =
        tokenize_chat(state.template.as_deref(), &state.tokenizer, &call.request)?;
    call.options.sampling = resolve_sampling(&state.tokenizer, &call.options);
    if let Some(output) = &call.output {
        call.options.sampling.constraint = Some(state.constraint(output)?);
    }
    Ok((call, prompt_token_ids))
}
