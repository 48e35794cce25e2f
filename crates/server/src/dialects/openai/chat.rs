//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use matou_llm::Llm;
use matou_llm::generation::collect;
use matou_llm::prepare::{self, PreparedPrompt};

use super::answer::chat_completion;
use super::convert::chat_call;
use super::header::header;
use super::stream::ChatEncoder;
use crate::body::JsonBody;
use crate::dialects::shared::convert::ResponseOptions;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::serving::Serving;

/// Answers a conversation.
pub(super) async fn create(
    State(serving): State<Serving>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (prompt, response) = serving.compute(move |llm| prepare(llm, &body)).await?;
    let format = prompt.format.clone();
    let n = prompt.options.n;
    let logprobs = prompt.options.sampling.logprobs.is_some();
    let events = serving.start(prompt, &request_id, "messages")?;
    if response.stream {
        let header = header(&serving, "chatcmpl", "chat.completion.chunk", &request_id);
        let encoder = ChatEncoder::new(header, n, &format, logprobs, response);
        return serving.stream(events, encoder).await;
    }
    let header = header(&serving, "chatcmpl", "chat.completion", &request_id);
    let collected = collect(events, n).await?;
    let answer = chat_completion(header, &format, logprobs, response.timings, collected);
    Ok(Json(answer).into_response())
}

fn prepare(llm: &Llm, body: &JsonBody) -> Result<(PreparedPrompt, ResponseOptions), ApiError> {
    let (wire, shared): (_, SharedFields) = body.read()?;
    let (call, response) = chat_call(wire, &shared, &llm.card().default_sampling)?;
    trace_labels(&shared.delivery);
    Ok((prepare::chat(llm, call)?, response))
}
