//! Anthropic's Messages API.

mod answer;
pub(crate) mod convert;
mod errors;
pub(super) mod models;
pub(crate) mod stream;
pub(crate) mod wire;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};

use matou_llm::Llm;
use matou_llm::generation::collect;
use matou_llm::prepare::{self, PreparedPrompt};
use matou_llm::request::Reasoning;

use crate::body::JsonBody;
use crate::dialects::shared::paths::VersionedRoutes;
use crate::dialects::shared::trace::trace_user;
use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::serving::Serving;
use crate::state::AppState;
use convert::{messages_call, messages_request};
pub(crate) use errors::error_body;
use stream::MessageEncoder;
use wire::{MessagesRequest, TokenCount};

/// The routes of this dialect.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/messages", post(create))
        .versioned("/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation.
async fn create(
    State(serving): State<Serving>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let prepared = serving.compute(move |llm| prepare(llm, &body)).await?;
    let format = prepared.prompt.format.clone();
    let events = serving.start(prepared.prompt, &request_id, "messages")?;
    let id = format!("msg_{request_id}");
    let opening = answer::opening(id, serving.llm.name().to_owned(), prepared.edits);
    if prepared.stream {
        let encoder = MessageEncoder::new(opening, &format);
        return serving.stream(events, encoder).await;
    }
    let collected = collect(events, 1).await?;
    Ok(Json(answer::message(opening, &format, collected)).into_response())
}

/// A request that is ready for the engine.
struct Prepared {
    prompt: PreparedPrompt,
    stream: bool,
    /// Whether parts of the conversation may be dropped.
    edits: bool,
}

fn prepare(llm: &Llm, body: &JsonBody) -> Result<Prepared, ApiError> {
    let wire: MessagesRequest = body.read()?;
    let user = wire
        .metadata
        .as_ref()
        .and_then(|labels| labels.user_id.as_deref());
    trace_user(user);
    let stream = wire.stream.unwrap_or(false);
    let edits = wire.context_management.as_ref();
    let edits = edits.is_some_and(|may| may.edits.as_ref().is_some_and(|edits| !edits.is_empty()));
    let call = messages_call(wire, &llm.card().default_sampling)?;
    let reasoning = call.request.reasoning.clone();
    let prompt = prepare::chat(llm, call)
        .map_err(|error| in_words_of_this_dialect(error.into(), reasoning.as_ref()))?;
    Ok(Prepared {
        prompt,
        stream,
        edits,
    })
}

/// How many tokens a conversation is.
async fn count_tokens(
    State(serving): State<Serving>,
    body: JsonBody,
) -> Result<Json<TokenCount>, ApiError> {
    let count = move |llm: &Llm| {
        let wire: MessagesRequest = body.read()?;
        llm.check_model(wire.model.as_deref())?;
        let request = messages_request(wire)?;
        prepare::tokenize_chat(llm, &request)
            .map_err(|error| in_words_of_this_dialect(error.into(), request.reasoning.as_ref()))
    };
    let input_tokens = serving.compute(count).await?.len();
    Ok(Json(TokenCount { input_tokens }))
}

/// What the model cannot do is called differently here.
fn in_words_of_this_dialect(error: ApiError, reasoning: Option<&Reasoning>) -> ApiError {
    let name = match reasoning {
        Some(Reasoning::Effort(_)) => "output_config.effort",
        _ => "thinking",
    };
    error.renamed("reasoning_effort", name)
}
