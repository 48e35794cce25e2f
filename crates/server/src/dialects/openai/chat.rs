//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use matou_chat::reasoning::ReasoningFormat;

use super::answer::chat_completion;
use super::convert::{ChatCall, chat_call};
use super::stream::ChatEncoder;
use super::{header, trace_labels};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::generation::{begin, collect};
use crate::message::MessageFormat;
use crate::prompt::{no_template, render_chat, resolve_sampling, tokenize_rendered};
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};
use crate::tools::{answer_grammar, tool_format};

/// Answers a conversation.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Prepared {
        call,
        prompt_token_ids,
        format,
    } = state.compute(move |state| prepare(state, &body)).await?;
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
        let encoder =
            ChatEncoder::new(header, options.n, &format, logprobs, response.include_usage);
        Ok(sse::response(events, encoder, state.limits.keep_alive))
    } else {
        let header = header(&state, "chatcmpl", "chat.completion", &request_id);
        let collected = collect(events, options.n).await?;
        Ok(Json(chat_completion(header, &format, logprobs, collected)).into_response())
    }
}

/// A chat request that is ready for the engine.
struct Prepared {
    call: ChatCall,
    prompt_token_ids: Vec<u32>,
    format: MessageFormat,
}

fn prepare(state: &AppState, body: &JsonBody) -> Result<Prepared, ApiError> {
    let defaults = &state.model.default_sampling;
    let shared = body.parse()?;
    let mut call = chat_call(body.parse()?, &shared, body.parse()?, defaults)?;
    trace_labels(&shared);
    state.check_model(call.model.as_deref())?;
    let template = state.template.as_deref().ok_or_else(no_template)?;
    let prompt = render_chat(template, &call.request)?;
    let prompt_token_ids = tokenize_rendered(&state.tokenizer, &prompt)?;
    let notation = tool_format(template);
    let tools = call.request.tools.as_ref();
    let format = MessageFormat {
        reasoning: ReasoningFormat::detect(template.source())
            .map(|format| (format, format.starts_inside(&prompt.text()))),
        tools: tools.map(|tools| (notation, tools.tools.clone())),
    };
    let control = |text: &str| {
        let id = state.tokenizer.token_to_id(text)?;
        state.tokenizer.is_special(id).then_some(id)
    };
    // What marks calls or reasoning has to be seen to be told apart, be it a control token.
    if format.markers().any(|marker| control(marker).is_some()) {
        call.options.text.keep_special_tokens = true;
    }
    call.options.sampling = resolve_sampling(&state.tokenizer, &call.options);
    if let Some(output) = answer_grammar(notation, tools, call.output.take(), control)? {
        let open = format.reasoning.filter(|(_, is_inside)| *is_inside);
        let constraint = state.constraint(&output, open.map(|(format, _)| format))?;
        call.options.sampling.constraint = Some(constraint);
    }
    Ok(Prepared {
        call,
        prompt_token_ids,
        format,
    })
}
