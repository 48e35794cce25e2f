//! `POST /v1/embeddings`.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::convert::prompts;
use super::wire::{Embedding, EmbeddingList, EmbeddingUsage, EmbeddingVector, EmbeddingsRequest};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::dialects::shared::models::check_dimensions;
use crate::dialects::shared::trace::trace_labels;
use crate::dialects::shared::wire::DeliveryFields;
use crate::door::Door;
use crate::error::ApiError;
use matou_llm::embedding::MAX_INPUTS;
use matou_llm::{Llm, Wanted, tokenize_fitting};

/// Embeds one text or several.
pub(super) async fn create(
    State(door): State<Door>,
    caller: Caller,
    body: JsonBody,
) -> Result<Json<EmbeddingList>, ApiError> {
    let (serving, body) = door.enter(&caller, body).await?;
    let (inputs, base64) = serving
        .compute(&caller, move |llm, wanted| {
            let wire = body.read()?;
            prepare(llm, wire, wanted).map_err(|error| error.renamed("prompt", "input"))
        })
        .await?;
    let embeddings = serving.embed(&caller, inputs, "input").await?;
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
        model: serving.llm.name().to_owned(),
        usage: EmbeddingUsage {
            prompt_tokens: embeddings.prompt_tokens,
            total_tokens: embeddings.prompt_tokens,
        },
    }))
}

/// The token ids of each text, and whether the answer is wanted in base64.
fn prepare(
    llm: &Llm,
    wire: EmbeddingsRequest,
    wanted: &Wanted,
) -> Result<(Vec<Vec<u32>>, bool), ApiError> {
    trace_labels(&DeliveryFields {
        user: wire.user,
        ..DeliveryFields::default()
    });
    check_dimensions(llm, wire.dimensions)?;
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
        .map(|input| tokenize_fitting(llm, input, "input", wanted));
    Ok((inputs.collect::<Result<_, _>>()?, base64))
}

/// The numbers as little-endian bytes in base64.
fn encoded(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}
