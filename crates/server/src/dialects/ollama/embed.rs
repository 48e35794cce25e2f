//! `POST /api/embed`, and the older `POST /api/embeddings`.

use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::check_model;
use super::convert::check_embed_options;
use super::wire::{EmbedRequest, EmbeddingsRequest};
use crate::body::JsonBody;
use crate::dialects::openai::check_dimensions;
use crate::dialects::union::TextOr;
use crate::embedding::MAX_INPUTS;
use crate::error::ApiError;
use crate::prompt::tokenize_input;
use crate::request::PromptInput;
use crate::request_id::RequestId;
use crate::state::{AppState, SharedState};

/// Embeds one text or several.
pub(super) async fn embed(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let begin = Instant::now();
    let read = move |state: &AppState| {
        let request: EmbedRequest = body.read()?;
        check_model(state, request.model.as_deref())?;
        check_dimensions(state, request.dimensions)?;
        let texts = request.input.map(TextOr::into_list);
        let inputs = inputs(state, "input", texts, request.options)?;
        let model = request.model;
        Ok((
            model.unwrap_or_else(|| state.model.names[0].clone()),
            inputs,
        ))
    };
    let (model, inputs) = state.compute(read).await?;
    let embeddings = state.embed(&request_id, inputs, "input").await?;
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
    let read = move |state: &AppState| {
        let request: EmbeddingsRequest = body.read()?;
        check_model(state, request.model.as_deref())?;
        let texts = request.prompt.map(|text| vec![text]);
        inputs(state, "prompt", texts, request.options)
    };
    let inputs = state.compute(read).await?;
    let embeddings = state.embed(&request_id, inputs, "prompt").await?;
    Ok(Json(json!({"embedding": embeddings.vectors.first()})))
}

/// The token ids of each text. `param` is the field that they came from.
fn inputs(
    state: &AppState,
    param: &str,
    texts: Option<Vec<String>>,
    options: Option<Map<String, Value>>,
) -> Result<Vec<Vec<u32>>, ApiError> {
    check_embed_options(options, state.engine.config().max_model_len)?;
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
    tokens.collect()
}
