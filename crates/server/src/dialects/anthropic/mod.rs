//! Anthropic's Messages API.

mod answer;
pub mod convert;
mod errors;
pub(super) mod models;
pub mod stream;
pub mod wire;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};

use crate::body::JsonBody;
use crate::conversation::Conversation;
use crate::dialects::trace_user;
use crate::error::ApiError;
use crate::generation::{begin, collect};
use crate::prompt::tokenize_chat;
use crate::request::Reasoning;
use crate::request_id::RequestId;
use crate::sse;
use crate::state::{AppState, SharedState};
use convert::{messages_call, messages_request};
pub(crate) use errors::error_body;
use stream::MessageEncoder;
use wire::{MessagesRequest, TokenCount};

/// The routes of this dialect.
pub(super) fn router() -> Router<SharedState> {
    Router::new()
        .route("/v1/messages", post(create))
        .route("/v1/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation.
async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (conversation, stream) = state.compute(move |state| prepare(state, &body)).await?;
    let format = conversation.format.clone();
    let events = conversation.start(&state, &request_id, "messages")?;
    let opening = answer::opening(format!("msg_{request_id}"), state.model.names[0].clone());
    if stream {
        let events = begin(events, state.limits.keep_alive).await?;
        let encoder = MessageEncoder::new(opening, &format);
        Ok(sse::response(events, encoder, state.limits.keep_alive))
    } else {
        let collected = collect(events, 1).await?;
        Ok(Json(answer::message(opening, &format, collected)).into_response())
    }
}

fn prepare(state: &AppState, body: &JsonBody) -> Result<(Conversation, bool), ApiError> {
    let wire: MessagesRequest = body.read()?;
    let user = wire
        .metadata
        .as_ref()
        .and_then(|labels| labels.user_id.as_deref());
    trace_user(user);
    let call = messages_call(wire, &state.model.default_sampling)?;
    let stream = call.response.stream;
    let reasoning = call.request.reasoning.clone();
    let conversation = Conversation::prepare(state, call);
    let conversation =
        conversation.map_err(|error| in_words_of_this_dialect(error, reasoning.as_ref()))?;
    Ok((conversation, stream))
}

/// How many tokens a conversation is.
async fn count_tokens(
    State(state): State<SharedState>,
    body: JsonBody,
) -> Result<Json<TokenCount>, ApiError> {
    let count = move |state: &AppState| {
        let wire: MessagesRequest = body.read()?;
        state.check_model(wire.model.as_deref())?;
        let request = messages_request(wire)?;
        tokenize_chat(state.template.as_deref(), &state.tokenizer, &request)
            .map_err(|error| in_words_of_this_dialect(error, request.reasoning.as_ref()))
    };
    let input_tokens = state.compute(count).await?.len();
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
