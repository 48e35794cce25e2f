//! Embeddings: the mean of the final hidden states of a text's tokens, scaled to length 1.

use std::sync::Arc;

use matou_engine::{ClientId, EngineEvent, Generation, GenerationRequest, SamplingParams};

use matou_model::Adapter;

use crate::error::LlmError;
use crate::llm::Llm;

/// Most texts of a request, as at OpenAI.
pub const MAX_INPUTS: usize = 2048;

/// The embeddings of some texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One a text, of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub prompt_tokens: usize,
}

/// The embeddings of texts, given as token ids. `param` is the field of the request that they came from,
/// `client` whose it is, `adapter` what is computed with beside the weights.
///
/// # Errors
///
/// When the engine does not accept a text, or fails.
pub async fn embed(
    (llm, adapter): (&Llm, Option<&Arc<Adapter>>),
    client: ClientId,
    request_id: &str,
    inputs: Vec<Vec<u32>>,
    param: &str,
) -> Result<Embeddings, LlmError> {
    let prompt_tokens = inputs.iter().map(Vec::len).sum();
    let request = |(i, ids): (usize, Vec<u32>)| GenerationRequest {
        request_id: format!("{request_id}-{i}"),
        prompt_token_ids: ids.into(),
        params: SamplingParams {
            max_tokens: Some(0),
            prompt_embedding: true,
            ..SamplingParams::greedy()
        },
        n: 1,
        client,
        priority: 0,
        cache_salt: None,
        adapter: adapter.cloned(),
        num_open_tokens: 0,
    };
    let requests = inputs.into_iter().enumerate().map(request).collect();
    let submitted = llm.engine().submit_all(requests);
    let generations = submitted.map_err(|error| llm.refusal(error, param))?;
    let mut vectors = Vec::with_capacity(generations.len());
    for generation in generations {
        vectors.push(embedding(generation).await?);
    }
    Ok(Embeddings {
        vectors,
        prompt_tokens,
    })
}

/// The embedding that comes of a request for one.
async fn embedding(mut generation: Generation) -> Result<Vec<f32>, LlmError> {
    let mut embedding = None;
    while let Some(event) = generation.next().await {
        match event {
            EngineEvent::Embedding { embedding: found } => embedding = Some(normalised(found)),
            EngineEvent::Failed { error } => return Err(error.into()),
            EngineEvent::Prompt { .. }
            | EngineEvent::Token { .. }
            | EngineEvent::Finished { .. } => {}
        }
    }
    embedding.ok_or_else(|| LlmError::internal("The engine gave no embedding."))
}

/// The vector scaled to length 1.
fn normalised(vector: Vec<f32>) -> Vec<f32> {
    let square = |value: &f32| f64::from(*value) * f64::from(*value);
    let length = vector.iter().map(square).sum::<f64>().sqrt();
    if length == 0.0 {
        return vector;
    }
    let scaled = |value: f32| (f64::from(value) / length) as f32;
    vector.into_iter().map(scaled).collect()
}
