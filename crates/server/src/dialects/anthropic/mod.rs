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
use axum::{Json, Router};

use matou_llm::Wanted;
use matou_llm::generation::collect;
use matou_llm::models::Lease;
use matou_llm::prepare::PreparedPrompt;
use matou_llm::request::Reasoning;

use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::paths::VersionedRoutes;
use crate::dialects::shared::trace::trace_user;
use crate::door::Door;
use crate::error::ApiError;
use crate::state::AppState;
use convert::{messages_call, messages_request};
pub(crate) use errors::error_body;
use stream::MessageEncoder;
use wire::{MessageResponse, MessagesRequest, TokenCount};

/// The routes of this dialect.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .versioned("/messages", post(create))
        .versioned("/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation.
async fn create(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let prepared = serving
        .compute(&caller, move |llm, wanted| prepare(llm, &body, wanted))
        .await?;
    let format = prepared.prompt.format.clone();
    let events = serving.start(prepared.prompt, &caller, "messages")?;
    let id = format!("msg_{caller}");
    let opening = MessageResponse {
        matou: serving.label(),
        ..answer::opening(id, serving.llm.name().to_owned(), prepared.edits)
    };
    if prepared.stream {
        let encoder = MessageEncoder::new(opening, &format);
        return serving.stream(events, encoder).await;
    }
    let collected = collect(events, 1).await?;
    let told = Json(answer::message(opening, &format, collected)).into_response();
    Ok(serving.labelled(told))
}

/// A request that is ready for the engine.
struct Prepared {
    prompt: PreparedPrompt,
    stream: bool,
    /// Whether parts of the conversation may be dropped.
    edits: bool,
}

fn prepare(llm: &Lease, body: &JsonBody, wanted: &Wanted) -> Result<Prepared, ApiError> {
    let wire: MessagesRequest = body.read()?;
    let user = wire
        .metadata
        .as_ref()
        .and_then(|labels| labels.user_id.as_deref());
    trace_user(user);
    let stream = wire.stream.unwrap_or(false);
    let edits = wire.context_management.as_ref();
    let edits = edits.is_some_and(|may| may.edits.as_ref().is_some_and(|edits| !edits.is_empty()));
    let call = messages_call(wire, &llm.default_sampling())?;
    let reasoning = call.request.reasoning.clone();
    let prompt = llm
        .chat(call, wanted)
        .map_err(|error| in_words_of_this_dialect(error.into(), reasoning.as_ref()))?;
    Ok(Prepared {
        prompt,
        stream,
        edits,
    })
}

/// How many tokens a conversation is.
async fn count_tokens(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<TokenCount>, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let count = move |llm: &Lease, _: &Wanted| {
        let wire: MessagesRequest = body.read()?;
        let request = messages_request(wire)?;
        let reasoning = request.reasoning.clone();
        llm.count_chat(request)
            .map_err(|error| in_words_of_this_dialect(error.into(), reasoning.as_ref()))
    };
    let input_tokens = serving.compute(&caller, count).await?;
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
