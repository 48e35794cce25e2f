//! `POST /v1/embeddings`.

use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::convert::prompts;
use super::trace_labels;
use super::wire::{
    DeliveryFields, Embedding, EmbeddingList, EmbeddingUsage, EmbeddingVector, EmbeddingsRequest,
};
use crate::body::JsonBody;
use crate::embedding::MAX_INPUTS;
use crate::error::ApiError;
use crate::prompt::tokenize_input;
use crate::request_id::RequestId;
use crate::state::{AppState, SharedState};

/// Embeds one text or several.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(request_id): Extension<RequestId>,
    body: JsonBody,
) -> Result<Json<EmbeddingList>, ApiError> {
    let (inputs, base64) = state
        .compute(move |state| {
            let wire = body.read()?;
            prepare(state, wire).map_err(|error| error.renamed("prompt", "input"))
        })
        .await?;
    let embeddings = state.embed(&request_id, inputs, "input").await?;
    let data = embeddings.vectors.into_iter().enumerate();
    let data = data.map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: match base64 {
            true => EmbeddingVector::Base64(encoded(&vector)),
            false => EmbeddingVector::Floats(vector),
        },
    });
    Ok(Json(EmbeddingList {
        object: "list",
        data: data.collect(),
        model: state.model.names[0].clone(),
        usage: EmbeddingUsage {
            prompt_tokens: embeddings.prompt_tokens,
            total_tokens: embeddings.prompt_tokens,
        },
    }))
}

/// The token ids of each text, and whether the answer is wanted in base64.
fn prepare(state: &AppState, wire: EmbeddingsRequest) -> Result<(Vec<Vec<u32>>, bool), ApiError> {
    trace_labels(&DeliveryFields {
        user: wire.user,
        ..DeliveryFields::default()
    });
    state.check_model(wire.model.as_deref())?;
    check_dimensions(state, wire.dimensions)?;
    let base64 = match wire.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message =
                format!("`encoding_format` must be \"float\" or \"base64\", got \"{other}\".");
            return Err(ApiError::invalid("encoding_format", message));
        }
    };
    let inputs = prompts(wire.input, true)?;
    if inputs.len() > MAX_INPUTS {
        let message = format!(
            "`input` may have at most {MAX_INPUTS} texts, got {}.",
            inputs.len()
        );
        return Err(ApiError::invalid("input", message));
    }
    let inputs = inputs
        .iter()
        .map(|input| tokenize_input(&state.tokenizer, input));
    Ok((inputs.collect::<Result<_, _>>()?, base64))
}

/// Embeddings have the model's own length: its first numbers alone mean nothing.
pub(crate) fn check_dimensions(state: &AppState, wanted: Option<i64>) -> Result<(), ApiError> {
    let length = state.engine.model_info().hidden_size;
    match wanted {
        Some(wanted) if usize::try_from(wanted) != Ok(length) => {
            let message = format!(
                "`dimensions` must be {length}: this model was not trained for embeddings that \
                 can be shortened."
            );
            Err(ApiError::unsupported("dimensions", message))
        }
        _ => Ok(()),
    }
}

/// The numbers as little-endian bytes in base64.
fn encoded(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}
