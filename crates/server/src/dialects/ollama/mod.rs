//! Ollama's API, as far as it is about models that are there: nothing is pulled, created or deleted.

pub mod convert;
mod embed;
mod models;
mod stream;
pub mod wire;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use serde_json::Value;

use crate::body::JsonBody;
use crate::conversation::Conversation;
use crate::dialects::rfc3339;
use crate::error::ApiError;
use crate::gap::{gap_ends, tokenize_gap};
use crate::generation::begin;
use crate::message::MessageFormat;
use crate::prompt::{resolve_sampling, tokenize_input};
use crate::request::{ChatCall, PromptInput};
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};
use convert::{Call, Defaults, chat_call, generate_call};
use stream::{Kind, LineEncoder};
use wire::{ChatFields, CommonFields, GenerateFields};

/// The routes of this dialect.
pub(super) fn router() -> Router<SharedState> {
    Router::new()
        .route("/api/chat", post(chat))
        .route("/api/generate", post(generate))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/version", get(models::version))
}

async fn chat(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    answer(state, request_id, body, Kind::Chat).await
}

async fn generate(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    answer(state, request_id, body, Kind::Generate).await
}

/// A request that is ready for the engine, or one that needs none.
struct Prepared {
    model: String,
    conversation: Option<Conversation>,
    stream: bool,
}

async fn answer(
    state: SharedState,
    request_id: RequestId,
    body: JsonBody,
    kind: Kind,
) -> Result<Response, ApiError> {
    let Prepared {
        model,
        conversation,
        stream,
    } = state
        .compute(move |state| prepare(state, &body, kind))
        .await?;
    let created_at = rfc3339(state.now());
    let Some(conversation) = conversation else {
        let encoder = LineEncoder::new(kind, model, created_at, false, &MessageFormat::default());
        return Ok(Json(encoder.loaded()).into_response());
    };
    let logprobs = conversation.options.sampling.logprobs.is_some();
    let encoder = LineEncoder::new(kind, model, created_at, logprobs, &conversation.format);
    let param = match kind {
        Kind::Chat => "messages",
        Kind::Generate => "prompt",
    };
    let events = conversation.start(&state, &request_id, param)?;
    if stream {
        let events = begin(events, state.limits.keep_alive).await?;
        return Ok(sse::lines(events, encoder));
    }
    Ok(Json(encoder.whole(events.collect().await)?).into_response())
}

fn prepare(state: &AppState, body: &JsonBody, kind: Kind) -> Result<Prepared, ApiError> {
    let defaults = Defaults {
        sampling: &state.model.default_sampling,
        max_model_len: state.engine.config().max_model_len,
    };
    let (model, call) = match kind {
        Kind::Chat => {
            let (mut common, chat): (CommonFields, ChatFields) = body.read()?;
            check_model(state, common.model.as_deref())?;
            (common.model.take(), chat_call(common, chat, defaults)?)
        }
        Kind::Generate => {
            let (mut common, generate): (CommonFields, GenerateFields) = body.read()?;
            check_model(state, common.model.as_deref())?;
            let model = common.model.take();
            (model, generate_call(common, generate, defaults)?)
        }
    };
    let (conversation, stream) = match call {
        Call::Load => (None, false),
        Call::Chat(call) => {
            let stream = call.response.stream;
            let conversation = Conversation::prepare(state, *call)
                .map_err(|error| error.renamed("reasoning_effort", "think"))?;
            (Some(conversation), stream)
        }
        Call::Raw {
            prompt,
            suffix,
            call,
        } => {
            let stream = call.response.stream;
            (Some(raw(state, &prompt, suffix.as_deref(), *call)?), stream)
        }
    };
    Ok(Prepared {
        // Clients look for the name that they sent.
        model: model.unwrap_or_else(|| state.model.names[0].clone()),
        conversation,
        stream,
    })
}

/// A prompt that goes to the model as it is, or with a gap before `suffix`.
fn raw(
    state: &AppState,
    prompt: &PromptInput,
    suffix: Option<&str>,
    call: ChatCall,
) -> Result<Conversation, ApiError> {
    let mut options = call.options;
    let prompt_token_ids = match suffix {
        None => tokenize_input(&state.tokenizer, prompt)?,
        Some(suffix) => {
            let ends = gap_ends(&state.tokenizer);
            options.sampling.stop_token_ids.extend(ends);
            tokenize_gap(&state.tokenizer, prompt, suffix)?
        }
    };
    options.sampling = resolve_sampling(&state.tokenizer, &options)?;
    if let Some(output) = &call.output {
        options.sampling.constraint = Some(state.constraint(output, None)?);
    }
    Ok(Conversation {
        prompt_token_ids,
        options,
        format: MessageFormat::default(),
    })
}

/// Checks that a model is served here; Ollama's clients like to say `:latest` after its name.
fn check_model(state: &AppState, model: Option<&str>) -> Result<(), ApiError> {
    match state.check_model(model) {
        Err(error) => match model.and_then(|model| model.strip_suffix(":latest")) {
            Some(name) => state.check_model(Some(name)),
            None => Err(error),
        },
        fine => fine,
    }
}

/// An error in Ollama's shape.
pub(crate) fn error_body(error: &ApiError) -> Value {
    serde_json::json!({"error": error.to_string()})
}
