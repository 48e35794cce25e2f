//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use matou_llm::Llm;
use matou_llm::generation::collect;
use matou_llm::prepare::{self, PreparedPrompt};

use super::answer::{ChatFormat, chat_completion};
use super::convert::chat_call;
use super::header::header;
use super::stream::ChatEncoder;
use super::wire::ChatCompletionRequest;
use crate::body::JsonBody;
use crate::dialects::shared::convert::custom_names;
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
    let (prompt, format) = serving.compute(move |llm| prepare(llm, &body)).await?;
    let n = prompt.options.n;
    let events = serving.start(prompt, &request_id, "messages")?;
    if format.response.stream {
        let header = header(&serving, "chatcmpl", "chat.completion.chunk", &request_id);
        let encoder = ChatEncoder::new(header, n, format);
        return serving.stream(events, encoder).await;
    }
    let header = header(&serving, "chatcmpl", "chat.completion", &request_id);
    let collected = collect(events, n).await?;
    Ok(Json(chat_completion(header, &format, collected)).into_response())
}

fn prepare(llm: &Llm, body: &JsonBody) -> Result<(PreparedPrompt, ChatFormat), ApiError> {
    let (wire, shared): (ChatCompletionRequest, SharedFields) = body.read()?;
    let custom_tools = custom_names(wire.tools.as_deref().unwrap_or_default());
    let (call, response) = chat_call(wire, &shared, &llm.card().default_sampling)?;
    trace_labels(&shared.delivery);
    let prompt = prepare::chat(llm, call)?;
    let format = ChatFormat {
        message: prompt.format.clone(),
        custom_tools,
        logprobs: prompt.options.sampling.logprobs.is_some(),
        response,
    };
    Ok((prompt, format))
}
