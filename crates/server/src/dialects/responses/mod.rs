//! OpenAI's Responses API. Responses are kept in memory, so that others can follow them.

mod answer;
pub(crate) mod convert;
mod input;
mod store;
mod stream;
pub(crate) mod wire;

use std::sync::Arc;

use axum::extract::{FromRef, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use matou_llm::Llm;
use matou_llm::prepare::{self, PreparedPrompt};

use crate::body::JsonBody;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::serving::Serving;
use crate::state::{AppState, Limits};
use answer::ResponseBuilder;
use convert::{ResponseFormat, ResponsesCall, ToolForms, answer_message, responses_call};
use store::{ResponseStore, StoredResponse, unknown};
use stream::ResponseEncoder;
use wire::{EchoedFields, ResponseObject, ResponsesRequest};

/// What this dialect has beside the server's own state: the responses that are kept.
#[derive(Clone)]
struct ResponsesState {
    serving: Serving,
    limits: Limits,
    store: Arc<ResponseStore>,
}

impl FromRef<ResponsesState> for Limits {
    fn from_ref(state: &ResponsesState) -> Self {
        state.limits.clone()
    }
}

impl FromRef<ResponsesState> for Arc<ResponseStore> {
    fn from_ref(state: &ResponsesState) -> Self {
        Arc::clone(&state.store)
    }
}

/// The routes of this dialect, with a store of their own.
pub(super) fn router(state: &AppState) -> Router<AppState> {
    let router = Router::new()
        .route("/", post(create))
        .route("/input_tokens", post(count_tokens))
        .route("/{id}", get(retrieve).delete(delete))
        .route("/{id}/input_items", get(input::items))
        .with_state(ResponsesState {
            serving: Serving::from_ref(state),
            limits: state.limits.clone(),
            store: Arc::default(),
        });
    Router::new()
        .nest("/v1/responses", router.clone())
        .nest("/responses", router)
}

/// Answers a conversation.
async fn create(
    State(state): State<ResponsesState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ResponsesState { serving, store, .. } = state;
    let created_at = serving.now();
    let previous = Arc::clone(&store);
    let Prepared {
        prompt,
        kept,
        response,
        format,
        forms,
        stream,
    } = serving
        .compute(move |llm| {
            let fields = body.read()?;
            prepare(llm, &previous, created_at, fields).map_err(in_words_of_this_dialect)
        })
        .await?;
    let tokenizer = Arc::clone(serving.llm.tokenizer());
    let count_tokens = Box::new(move |text: &str| {
        let tokens = tokenizer.encode(text, matou_chat::SpecialTokens::Plain, false);
        tokens.map_or(0, |tokens| tokens.len())
    });
    let is_kept = format.store;
    let written = (&prompt.format, forms);
    let mut builder = ResponseBuilder::new(response, format, written, count_tokens, stream);
    let mut events = serving.start(prompt, &request_id, "input")?;
    let keep = move |response: &ResponseObject| {
        if is_kept {
            keep(&store, response, kept);
        }
    };
    if stream {
        let encoder = ResponseEncoder::new(builder, Box::new(keep));
        return serving.stream(events, encoder).await;
    }
    while let Some(event) = events.next().await {
        builder.accept(event)?;
    }
    keep(builder.response());
    Ok(Json(builder.response()).into_response())
}

/// A request that is ready for the engine.
struct Prepared {
    prompt: PreparedPrompt,
    kept: Kept,
    response: ResponseObject,
    format: ResponseFormat,
    forms: ToolForms,
    stream: bool,
}

/// What is kept beside a response.
struct Kept {
    /// The items of the input.
    input: Vec<Value>,
    /// The messages that it and those before it are.
    history: Vec<Value>,
}

fn prepare(
    llm: &Llm,
    store: &ResponseStore,
    created_at: u64,
    (wire, shared, echoed): (ResponsesRequest, SharedFields, EchoedFields),
) -> Result<Prepared, ApiError> {
    trace_labels(&shared.delivery);
    let previous = previous(store, &wire)?;
    let messages = previous
        .as_ref()
        .map_or(&[][..], |previous| &previous.messages);
    let truncation = match wire.truncation.as_deref() {
        Some("auto") => "auto",
        _ => "disabled",
    };
    let previous_response_id = wire.previous_response_id.clone();
    let parallel_tool_calls = wire.parallel_tool_calls.unwrap_or(true);
    let defaults = &llm.card().default_sampling;
    let ResponsesCall {
        chat,
        stream,
        history,
        format,
        forms,
    } = responses_call(wire, shared, messages, defaults)?;
    let sampling = &chat.options.sampling;
    let response = ResponseObject {
        id: format!("resp_{}", Uuid::new_v4().simple()),
        object: "response",
        created_at,
        status: "in_progress",
        background: false,
        error: None,
        incomplete_details: None,
        instructions: echoed.instructions,
        max_output_tokens: sampling.max_tokens,
        model: llm.name().to_owned(),
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
        truncation,
        usage: None,
        user: echoed.user,
        metadata: echoed.metadata.unwrap_or_else(|| json!({})),
    };
    let input = match format.store {
        true => input::with_ids(echoed.input, &response.id),
        false => Vec::new(),
    };
    Ok(Prepared {
        prompt: prepare::chat(llm, chat)?,
        kept: Kept { input, history },
        response,
        format,
        forms,
        stream,
    })
}

/// The response that a request follows, if it follows one.
fn previous(
    store: &ResponseStore,
    wire: &ResponsesRequest,
) -> Result<Option<Arc<StoredResponse>>, ApiError> {
    let Some(id) = &wire.previous_response_id else {
        return Ok(None);
    };
    store.get(id).map(Some).ok_or_else(|| {
        let message = format!("Previous response with id '{id}' not found.");
        ApiError::not_kept("previous_response_id", message)
    })
}

/// How many tokens the prompt of a response is.
async fn count_tokens(
    State(state): State<ResponsesState>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let ResponsesState { serving, store, .. } = state;
    let count = move |llm: &Llm| {
        let (wire, shared): (ResponsesRequest, SharedFields) = body.read()?;
        llm.check_model(wire.model.as_deref())?;
        let previous = previous(&store, &wire)?;
        let messages = previous
            .as_ref()
            .map_or(&[][..], |previous| &previous.messages);
        let call = responses_call(wire, shared, messages, &llm.card().default_sampling)?;
        let tokens = prepare::tokenize_chat(llm, &call.chat.request);
        tokens.map_err(|error| in_words_of_this_dialect(error.into()))
    };
    let input_tokens = serving.compute(count).await?.len();
    Ok(Json(json!({
        "object": "response.input_tokens", "input_tokens": input_tokens,
    })))
}

/// Keeps a response that has ended, to be fetched and followed.
fn keep(store: &ResponseStore, response: &ResponseObject, kept: Kept) {
    let Kept {
        input,
        history: mut messages,
    } = kept;
    messages.push(answer_message(&response.output));
    let id = response.id.clone();
    let response = serde_json::to_value(response).expect("wire types serialise");
    let stored = StoredResponse {
        response,
        input,
        messages,
    };
    store.insert(id, stored);
}

/// A response that was kept.
async fn retrieve(
    State(store): State<Arc<ResponseStore>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let stored = store.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(stored.response.clone()))
}

/// Deletes a response that was kept.
async fn delete(
    State(store): State<Arc<ResponseStore>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    match store.delete(&id) {
        true => Ok(Json(
            json!({"id": id, "object": "response", "deleted": true}),
        )),
        false => Err(unknown(&id)),
    }
}

/// Fields that are called differently here.
fn in_words_of_this_dialect(error: ApiError) -> ApiError {
    error
        .renamed("messages", "input")
        .renamed("reasoning_effort", "reasoning.effort")
}
