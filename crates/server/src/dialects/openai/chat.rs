//! `POST /v1/chat/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use matou_llm::Wanted;
use matou_llm::generation::collect;
use matou_llm::models::Lease;
use matou_llm::prepare::PreparedPrompt;

use super::answer::{ChatFormat, chat_completion};
use super::convert::chat_call;
use super::header::header;
use super::stream::ChatEncoder;
use super::wire::ChatCompletionRequest;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::convert::custom_names;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::door::Door;
use crate::error::ApiError;
use crate::serving::tell;

/// Answers a conversation.
pub(super) async fn create(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let (prompt, format) = serving
        .compute(&caller, move |llm, wanted| prepare(llm, &body, wanted))
        .await?;
    let n = prompt.options.n;
    let events = serving.start(prompt, &caller, "messages")?;
    if format.response.stream {
        let header = header(&serving, "chatcmpl", "chat.completion.chunk", &caller);
        let encoder = ChatEncoder::new(header, n, format);
        return serving.stream(events, encoder).await;
    }
    let header = header(&serving, "chatcmpl", "chat.completion", &caller);
    let collected = collect(events, n).await?;
    let told = tell(move || Json(chat_completion(header, &format, collected)).into_response());
    Ok(serving.labelled(told.await))
}

/// Reads a request, and makes its prompt.
///
/// # Errors
///
/// What is wrong with the request.
pub(crate) fn prepare(
    llm: &Lease,
    body: &JsonBody,
    wanted: &Wanted,
) -> Result<(PreparedPrompt, ChatFormat), ApiError> {
    let (wire, shared): (ChatCompletionRequest, SharedFields) = body.read()?;
    let custom_tools = custom_names(wire.tools.as_deref().unwrap_or_default());
    let (call, response) = chat_call(wire, &shared, &llm.default_sampling())?;
    trace_labels(&shared.delivery);
    let prompt = llm.chat(call, wanted)?;
    let format = ChatFormat {
        message: prompt.format.clone(),
        custom_tools,
        logprobs: prompt.options.sampling.logprobs.is_some(),
        response,
    };
    Ok((prompt, format))
}
