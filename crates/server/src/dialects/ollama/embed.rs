//! `POST /api/embed`, and the older `POST /api/embeddings`.

use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::check_model;
use super::wire::EmbedRequest;
use crate::body::JsonBody;
use crate::dialects::openai::check_dimensions;
use crate::embedding::{Embeddings, MAX_INPUTS};
use crate::error::ApiError;
use crate::prompt::tokenize_input;
use crate::request::PromptInput;
use crate::request_id::RequestId;
use crate::state::SharedState;

/// Embeds one text or several.
pub(super) async fn embed(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let begin = Instant::now();
    let (model, embeddings) = embeddings_of(&state, &request_id, body, "input").await?;
    Ok(Json(json!({
        "model": model,
        "embeddings": embeddings.vectors,
        "total_duration": u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
        "load_duration": 0,
        "prompt_eval_count": embeddings.prompt_tokens,
    })))
}

/// Embeds one text.
pub(super) async fn embeddings(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let (_, embeddings) = embeddings_of(&state, &request_id, body, "prompt").await?;
    Ok(Json(json!({"embedding": embeddings.vectors.first()})))
}

async fn embeddings_of(
    state: &SharedState,
    request_id: &RequestId,
    body: JsonBody,
    param: &'static str,
) -> Result<(String, Embeddings), ApiError> {
    let read = move |state: &crate::state::AppState| {
        let request: EmbedRequest = body.parse()?;
        check_model(state, request.model.as_deref())?;
        check_dimensions(state, request.dimensions)?;
        let texts = match param {
            "input" => request.input.map(|texts| texts.0),
            _ => request.prompt.map(|text| vec![text]),
        };
        let Some(texts) = texts else {
            return Err(ApiError::invalid(param, format!("`{param}` is missing.")));
        };
        if texts.len() > MAX_INPUTS {
            let message = format!("`{param}` may have at most {MAX_INPUTS} texts.");
            return Err(ApiError::invalid(param, message));
        }
        let tokens = texts.into_iter().map(|text| {
            let add_special_tokens = true;
            let input = PromptInput::Text {
                text,
                add_special_tokens,
            };
            tokenize_input(&state.tokenizer, &input)
        });
        let model = request
            .model
            .unwrap_or_else(|| state.model.names[0].clone());
        Ok((model, tokens.collect::<Result<Vec<_>, _>>()?))
    };
    let (model, inputs) = state.compute(read).await?;
    let embeddings = state.embed(request_id, inputs, param).await?;
    Ok((model, embeddings))
}
