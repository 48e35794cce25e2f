//! Embeddings: the mean of the final hidden states of a text's tokens, scaled to length 1.

use futures_util::{StreamExt, TryStreamExt, stream};
use matou_engine::{EngineEvent, GenerationRequest, SamplingParams};

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

/// The embeddings of texts, given as token ids and computed as many at once as may run. `param` is
/// the field of the request that they came from.
///
/// # Errors
///
/// When the engine does not accept a text, or fails.
pub async fn embed(
    llm: &Llm,
    request_id: &str,
    inputs: Vec<Vec<u32>>,
    param: &str,
) -> Result<Embeddings, LlmError> {
    let prompt_tokens = inputs.iter().map(Vec::len).sum();
    let at_once = llm.engine().config().max_num_seqs;
    let one = |(i, ids)| embed_one(llm, format!("{request_id}-{i}"), ids, param);
    let vectors = stream::iter(inputs.into_iter().enumerate().map(one))
        .buffered(at_once)
        .try_collect()
        .await?;
    Ok(Embeddings {
        vectors,
        prompt_tokens,
    })
}

async fn embed_one(
    llm: &Llm,
    request_id: String,
    prompt_token_ids: Vec<u32>,
    param: &str,
) -> Result<Vec<f32>, LlmError> {
    let request = GenerationRequest {
        request_id,
        prompt_token_ids,
        params: SamplingParams {
            max_tokens: Some(0),
            prompt_embedding: true,
            ..SamplingParams::greedy()
        },
        n: 1,
        priority: 0,
        cache_salt: None,
    };
    let submitted = llm.engine().submit(request);
    let mut generation = submitted.map_err(|error| llm.refusal(error, param))?;
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
