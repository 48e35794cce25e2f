//! OpenAI's Responses API. Responses are kept, so that others can follow them.

mod answer;
pub(crate) mod convert;
mod input;
mod shelves;
mod store;
mod stored;
mod stream;
pub(crate) mod wire;

use std::sync::Arc;

use axum::extract::{FromRef, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use matou_llm::Wanted;
use matou_llm::models::Lease;
use matou_llm::prepare::PreparedPrompt;

use crate::blocking::blocking;
use crate::body::{BodyBudget, JsonBody};
use crate::caller::Caller;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::SharedFields;
use crate::door::Door;
use crate::error::ApiError;
use crate::limits::Limits;
use crate::state::AppState;
use answer::ResponseBuilder;
use convert::{ResponseFormat, ResponsesCall, ToolForms, answer_message, responses_call};
use matou_history::Owner;
pub(crate) use store::ResponseStore;
use store::{found, unknown};
use stored::StoredResponse;
use stream::ResponseEncoder;
use wire::{EchoedFields, ResponseObject, ResponsesRequest};

/// What this dialect has beside the server's own state: the responses that are kept.
#[derive(Clone)]
struct ResponsesState {
    door: Door,
    limits: Limits,
    bodies: BodyBudget,
    store: Arc<ResponseStore>,
}

impl FromRef<ResponsesState> for Limits {
    fn from_ref(state: &ResponsesState) -> Self {
        state.limits.clone()
    }
}

impl FromRef<ResponsesState> for BodyBudget {
    fn from_ref(state: &ResponsesState) -> Self {
        state.bodies.clone()
    }
}

impl FromRef<ResponsesState> for Arc<ResponseStore> {
    fn from_ref(state: &ResponsesState) -> Self {
        Arc::clone(&state.store)
    }
}

/// The routes of this dialect.
pub(super) fn router(state: &AppState) -> Router<AppState> {
    let router = Router::new()
        .route("/", post(create))
        .route("/input_tokens", post(count_tokens))
        .route("/{id}", get(retrieve).delete(delete))
        .route("/{id}/input_items", get(input::items))
        .with_state(ResponsesState {
            door: Door::from_ref(state),
            limits: state.limits.clone(),
            bodies: state.bodies.clone(),
            store: Arc::clone(&state.shelf.responses),
        });
    Router::new()
        .nest("/v1/responses", router.clone())
        .nest("/responses", router)
}

/// Answers a conversation.
async fn create(
    State(state): State<ResponsesState>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ResponsesState { door, store, .. } = state;
    let (serving, body) = door.enter(&caller, body).await?;
    let created_at = serving.now();
    let (previous, owner) = (Arc::clone(&store), caller.owner.clone());
    let Prepared {
        prompt,
        kept,
        response,
        format,
        forms,
        stream,
    } = serving
        .compute(&caller, move |llm, wanted| {
            let fields = body.read()?;
            let made = prepare(llm, (&previous, &owner), (created_at, wanted), fields);
            made.map_err(in_words_of_this_dialect)
        })
        .await?;
    let tokenizer = Arc::clone(serving.llm.tokenizer());
    let count_tokens = Box::new(move |text: &str| {
        let tokens = tokenizer.encode(text, matou_chat::SpecialTokens::Plain, false);
        tokens.map_or(0, |tokens| tokens.len())
    });
    let is_kept = format.store;
    let written = (&prompt.format, forms);
    let response = ResponseObject {
        matou: serving.label(),
        ..response
    };
    let mut builder = ResponseBuilder::new(response, format, written, count_tokens, stream);
    let mut events = serving.start(prompt, &caller, "input")?;
    let owner = caller.owner.clone();
    let keep = move |response: &ResponseObject| {
        if is_kept {
            keep((&store, &owner), response, kept);
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
    let told = Json(builder.response()).into_response();
    Ok(serving.labelled(told))
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
    llm: &Lease,
    own: (&ResponseStore, &Owner),
    (created_at, wanted): (u64, &Wanted),
    (wire, shared, echoed): (ResponsesRequest, SharedFields, EchoedFields),
) -> Result<Prepared, ApiError> {
    trace_labels(&shared.delivery);
    let previous = previous(own, &wire)?;
    let truncation = match wire.truncation.as_deref() {
        Some("auto") => "auto",
        _ => "disabled",
    };
    let previous_response_id = wire.previous_response_id.clone();
    let parallel_tool_calls = wire.parallel_tool_calls.unwrap_or(true);
    let defaults = &llm.default_sampling();
    let ResponsesCall {
        chat,
        stream,
        history,
        format,
        forms,
    } = responses_call(wire, shared, &previous, defaults)?;
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
        matou: None,
    };
    let input = match format.store {
        true => input::with_ids(echoed.input, &response.id),
        false => Vec::new(),
    };
    Ok(Prepared {
        prompt: llm.chat(chat, wanted)?,
        kept: Kept { input, history },
        response,
        format,
        forms,
        stream,
    })
}

/// The conversation that a request follows, if it follows one: that of a response of the same client.
fn previous(
    (store, owner): (&ResponseStore, &Owner),
    wire: &ResponsesRequest,
) -> Result<Vec<Value>, ApiError> {
    let Some(id) = &wire.previous_response_id else {
        return Ok(Vec::new());
    };
    let stored = store.get(owner, id).ok_or_else(|| {
        let message = format!("Previous response with id '{id}' not found.");
        ApiError::not_kept("previous_response_id", message)
    })?;
    Ok(stored.messages())
}

/// How many tokens the prompt of a response is.
async fn count_tokens(
    State(state): State<ResponsesState>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let ResponsesState { door, store, .. } = state;
    let (serving, body) = door.enter(&caller, body).await?;
    let owner = caller.owner.clone();
    let count = move |llm: &Lease, _: &Wanted| {
        let (wire, shared): (ResponsesRequest, SharedFields) = body.read()?;
        let previous = previous((&store, &owner), &wire)?;
        let call = responses_call(wire, shared, &previous, &llm.default_sampling())?;
        let tokens = llm.count_chat(call.chat.request);
        tokens.map_err(|error| in_words_of_this_dialect(error.into()))
    };
    let input_tokens = serving.compute(&caller, count).await?;
    Ok(Json(json!({
        "object": "response.input_tokens", "input_tokens": input_tokens,
    })))
}

/// Keeps a response that has ended, to be fetched and followed by its client.
fn keep((store, owner): (&ResponseStore, &Owner), response: &ResponseObject, kept: Kept) {
    let Kept {
        input,
        history: mut messages,
    } = kept;
    messages.push(answer_message(&response.output));
    let stored = StoredResponse::new(response, &input, &messages);
    store.insert(owner, response.id.clone(), stored);
}

/// A response that was kept.
async fn retrieve(
    State(store): State<Arc<ResponseStore>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let stored = found(store, caller.owner, id).await?;
    let is_json = [(header::CONTENT_TYPE, "application/json")];
    Ok((is_json, stored.response.clone().into_string()))
}

/// Deletes a response that was kept.
async fn delete(
    State(store): State<Arc<ResponseStore>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (owner, wanted) = (caller.owner, id.clone());
    match blocking(move || store.delete(&owner, &wanted)).await?? {
        true => Ok(Json(
            json!({"id": id, "object": "response", "deleted": true}),
        )),
        false => Err(unknown(&id)),
    }
}

/// An error as an event of a stream of which nothing else was sent.
pub(super) fn error_event(error: &ApiError) -> Value {
    json!({
        "type": "error",
        "sequence_number": 0,
        "code": error.code(),
        "message": error.to_string(),
        "param": error.param(),
    })
}

/// Fields that are called differently here.
fn in_words_of_this_dialect(error: ApiError) -> ApiError {
    error
        .renamed("messages", "input")
        .renamed("reasoning_effort", "reasoning.effort")
}
