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
        .route("/v1/messages", post(create))
        .route("/v1/messages/count_tokens", post(count_tokens))
}

/// Answers a conversation.
async fn create(
    State(serving): State<Serving>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (prompt, stream) = serving.compute(move |llm| prepare(llm, &body)).await?;
    let format = prompt.format.clone();
    let events = serving.start(prompt, &request_id, "messages")?;
    let opening = answer::opening(format!("msg_{request_id}"), serving.llm.name().to_owned());
    if stream {
        let encoder = MessageEncoder::new(opening, &format);
        return serving.stream(events, encoder).await;
    }
    let collected = collect(events, 1).await?;
    Ok(Json(answer::message(opening, &format, collected)).into_response())
}

fn prepare(llm: &Llm, body: &JsonBody) -> Result<(PreparedPrompt, bool), ApiError> {
    let wire: MessagesRequest = body.read()?;
    let user = wire
        .metadata
        .as_ref()
        .and_then(|labels| labels.user_id.as_deref());
    trace_user(user);
    let stream = wire.stream.unwrap_or(false);
    let call = messages_call(wire, &llm.card().default_sampling)?;
    let reasoning = call.request.reasoning.clone();
    let prompt = prepare::chat(llm, call)
        .map_err(|error| in_words_of_this_dialect(error.into(), reasoning.as_ref()))?;
    Ok((prompt, stream))
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
