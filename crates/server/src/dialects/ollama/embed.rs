//! `POST /api/embed`, and the older `POST /api/embeddings`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::convert::{check_embed_options, read_keep_alive};
use super::wire::{EmbedRequest, EmbeddingsRequest};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::models::check_dimensions;
use crate::dialects::shared::union::TextOr;
use crate::door::Door;
use crate::error::ApiError;
use crate::serving::Serving;
use matou_llm::embedding::MAX_INPUTS;
use matou_llm::models::Lease;
use matou_llm::request::PromptInput;
use matou_llm::tokenize_fitting;
use matou_llm::{Llm, Wanted};

/// Embeds one text or several.
pub(super) async fn embed(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let begin = Instant::now();
    let (serving, body) = enter(&door, &caller, body).await?;
    let loaded = begin.elapsed();
    let read = move |llm: &Lease, wanted: &Wanted| {
        let request: EmbedRequest = body.read()?;
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
        "total_duration": nanoseconds(begin.elapsed()),
        "load_duration": nanoseconds(loaded),
        "prompt_eval_count": embeddings.prompt_tokens,
    })))
}

/// Embeds one text.
pub(super) async fn embeddings(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let (serving, body) = enter(&door, &caller, body).await?;
    let read = move |llm: &Lease, wanted: &Wanted| {
        let request: EmbeddingsRequest = body.read()?;
        let texts = request.prompt.map(|text| vec![text]);
        inputs(llm, ("prompt", wanted), texts, request.options)
    };
    let inputs = serving.compute(&caller, read).await?;
    let embeddings = serving.embed(&caller, inputs, "prompt").await?;
    Ok(Json(json!({"embedding": embeddings.vectors.first()})))
}

/// Lets a request in, and keeps the model for as long as it says.
async fn enter(
    door: &Door,
    caller: &Caller,
    body: JsonBody,
) -> Result<(Serving, JsonBody), ApiError> {
    let (peek, body) = door.peek(caller, body).await?;
    let keep_alive = read_keep_alive(peek.keep_alive.as_ref())?;
    Ok((door.let_in(caller, &peek, keep_alive).await?, body))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
