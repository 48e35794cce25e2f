//! `POST /api/embed`, and the older `POST /api/embeddings`.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::convert::check_embed_options;
use super::names::check_model;
use super::wire::{EmbedRequest, EmbeddingsRequest};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::models::check_dimensions;
use crate::dialects::shared::union::TextOr;
use crate::error::ApiError;
use crate::serving::Serving;
use matou_llm::embedding::MAX_INPUTS;
use matou_llm::request::PromptInput;
use matou_llm::tokenize_fitting;
use matou_llm::{Llm, Wanted};

/// Embeds one text or several.
pub(super) async fn embed(
    State(serving): State<Serving>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let begin = Instant::now();
    let read = move |llm: &Llm, wanted: &Wanted| {
        let request: EmbedRequest = body.read()?;
        check_model(llm, request.model.as_deref())?;
        check_dimensions(llm, request.dimensions)?;
        let texts = request.input.map(TextOr::into_list);
        let inputs = inputs(llm, ("input", wanted), texts, request.options)?;
        let model = request.model;
        Ok((model.unwrap_or_else(|| llm.name().to_owned()), inputs))
    };
    let (model, inputs) = serving.compute(&caller, read).await?;
    let embeddings = serving.embed(&caller, inputs, "input").await?;
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
    State(serving): State<Serving>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let read = move |llm: &Llm, wanted: &Wanted| {
        let request: EmbeddingsRequest = body.read()?;
        check_model(llm, request.model.as_deref())?;
        let texts = request.prompt.map(|text| vec![text]);
        inputs(llm, ("prompt", wanted), texts, request.options)
    };
    let inputs = serving.compute(&caller, read).await?;
    let embeddings = serving.embed(&caller, inputs, "prompt").await?;
    Ok(Json(json!({"embedding": embeddings.vectors.first()})))
}

/// The token ids of each text. `param` is the field that they came from.
fn inputs(
    llm: &Llm,
    (param, wanted): (&str, &Wanted),
    texts: Option<Vec<String>>,
    options: Option<Map<String, Value>>,
) -> Result<Vec<Vec<u32>>, ApiError> {
    check_embed_options(options)?;
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
        Ok(tokenize_fitting(llm, &input, param, wanted)?)
    });
    tokens.collect()
}
