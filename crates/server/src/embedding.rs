//! Embeddings: the mean of the final hidden states of a text's tokens, scaled to length 1.

use futures_util::{StreamExt, TryStreamExt, stream};
use matou_engine::{EngineEvent, GenerationRequest, SamplingParams};

use crate::error::ApiError;
use crate::request_id::RequestId;
use crate::state::{AppState, Phase};

/// Most texts of a request, as at OpenAI.
pub(crate) const MAX_INPUTS: usize = 2048;

/// The embeddings of some texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embeddings {
    /// One a text, of length 1.
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub(crate) prompt_tokens: usize,
}

impl AppState {
    /// The embeddings of texts, given as token ids and computed as many at once as may run.
    ///
    /// # Errors
    ///
    /// When the engine does not accept a text, or fails.
    pub(crate) async fn embed(
        &self,
        request_id: &RequestId,
        inputs: Vec<Vec<u32>>,
        param: &str,
    ) -> Result<Embeddings, ApiError> {
        let prompt_tokens = inputs.iter().map(Vec::len).sum();
        let at_once = self.engine.config().max_num_seqs;
        let embed = |(i, ids)| self.embed_one(format!("{request_id}-{i}"), ids, param);
        let vectors = stream::iter(inputs.into_iter().enumerate().map(embed))
            .buffered(at_once)
            .try_collect();
        let mut phase = self.phase();
        tokio::select! {
            biased;
            // An error would mean that the state is gone.
            _ = phase.wait_for(|phase| *phase == Phase::Cut) => Err(ApiError::shutting_down()),
            vectors = vectors => Ok(Embeddings { vectors: vectors?, prompt_tokens }),
        }
    }

    async fn embed_one(
        &self,
        request_id: String,
        prompt_token_ids: Vec<u32>,
        param: &str,
    ) -> Result<Vec<f32>, ApiError> {
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
        };
        let submitted = self.engine.submit(request);
        let mut generation = submitted.map_err(|error| self.refusal(error, param))?;
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
        embedding.ok_or_else(|| ApiError::internal("The engine gave no embedding."))
    }
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
