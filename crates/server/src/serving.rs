//! What endpoints that compute take of the server's state, and the way that all answers go: prepared
//! off the async workers, started, then streamed through the dialect's encoder or told as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::Response;
use matou_llm::Llm;
use matou_llm::embedding::{self, Embeddings};
use matou_llm::generation::{EventStream, begin};
use matou_llm::prepare::{PreparedPrompt, RawPrompts};

use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::request_id::RequestId;
use crate::sse::{self, EventEncoder};
use crate::workers::Workers;

/// A model, and what it takes to answer with it.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) llm: Arc<Llm>,
    pub(crate) workers: Workers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) keep_alive: Duration,
    pub(crate) clock: fn() -> SystemTime,
}

impl Serving {
    /// Unix time, in seconds.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// Runs `work` off the async workers, as many at a time as there are cores.
    ///
    /// # Errors
    ///
    /// The error of `work`; 429 when as many requests wait here as the engine's queue would take.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Llm) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let llm = Arc::clone(&self.llm);
        match self.workers.run(move || work(&llm)).await {
            Ok(result) => result,
            Err(_full) => Err(self.llm.queue_full().into()),
        }
    }

    /// Hands a prompt to the engine. `param` is the field that it came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub(crate) fn start(
        &self,
        prompt: PreparedPrompt,
        request_id: &RequestId,
        param: &str,
    ) -> Result<EventStream, ApiError> {
        let generation = prompt.start(&self.llm, request_id.to_string(), param)?;
        Ok(self.lifecycle.until_cut(generation.into_stream()))
    }

    /// Hands several prompts to the engine.
    ///
    /// # Errors
    ///
    /// When the engine does not accept one of them.
    pub(crate) fn start_all(
        &self,
        prompts: RawPrompts,
        request_id: &RequestId,
        param: &str,
    ) -> Result<EventStream, ApiError> {
        let events = prompts.start(&self.llm, &request_id.to_string(), param)?;
        Ok(self.lifecycle.until_cut(events))
    }

    /// Streams `events` through `encoder`.
    ///
    /// # Errors
    ///
    /// The error of a request that fails before its first token: it is told by the status.
    pub(crate) async fn stream(
        &self,
        events: EventStream,
        encoder: impl EventEncoder,
    ) -> Result<Response, ApiError> {
        let events = begin(events, self.keep_alive).await?;
        Ok(sse::response(events, encoder, self.keep_alive))
    }

    /// The embeddings of texts, given as token ids. `param` is the field that they came from.
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
        let name = request_id.to_string();
        tokio::select! {
            biased;
            () = self.lifecycle.cut() => Err(ApiError::shutting_down()),
            embeddings = embedding::embed(&self.llm, &name, inputs, param) => Ok(embeddings?),
        }
    }
}
