//! What endpoints that compute take of the server's state, and the way that all answers go: prepared
//! off the async workers, started, then streamed through the dialect's encoder or told as a whole.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use matou_llm::Wanted;
use matou_llm::embedding::{self, Embeddings};
use matou_llm::generation::{EventStream, begin};
use matou_llm::message::MessageFormat;
use matou_llm::models::Lease;
use matou_llm::prepare::{PreparedPrompt, RawPrompts};
use matou_llm::request::GenerationOptions;

use crate::caller::Caller;
use crate::clock::unix_time;
use crate::error::ApiError;
use crate::label::Label;
use crate::lifecycle::Lifecycle;
use crate::provenance::Recorder;
use crate::sse::{self, EventEncoder};
use crate::workers::Workers;
use matou_engine::ClientId;
use matou_provenance::ProvenanceLog;

/// A model that a request is let in to, and what it takes to answer with it. The model stays in
/// memory as long as this and the answers that were started live.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) llm: Lease,
    pub(super) services: Services,
}

/// What answering takes beside a model.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) workers: Workers,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) share_prefix_cache: bool,
    pub(crate) keep_alive: Duration,
    pub(crate) clock: fn() -> SystemTime,
    /// Whether every answer says that a model made it, and not only those of personas.
    pub(crate) label: bool,
    pub(crate) provenance: Option<Arc<ProvenanceLog>>,
}

impl Services {
    /// Unix time, in seconds.
    pub(crate) fn now(&self) -> u64 {
        unix_time(self.clock)
    }
}

impl Serving {
    /// Unix time, in seconds.
    pub(crate) fn now(&self) -> u64 {
        self.services.now()
    }

    /// Where the server is in its life.
    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.services.lifecycle.clone()
    }

    /// Runs `work` off the async workers, as many at a time as there are cores; clients take turns.
    ///
    /// # Errors
    ///
    /// The error of `work`; 429 when as many of the client's requests wait here as the engine's queue
    /// would take; 503 when answers are cut.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Lease, &Wanted) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let llm = self.llm.clone();
        let run = self
            .services
            .workers
            .run(caller.client, move |wanted| work(&llm, wanted));
        let done = tokio::select! {
            biased;
            () = self.services.lifecycle.cut() => return Err(ApiError::shutting_down()),
            done = run => done,
        };
        done.unwrap_or_else(|_full| Err(self.llm.queue_full().into()))
    }

    /// Puts what a client may not choose into how its prompts are answered.
    fn own(&self, caller: &Caller, options: &mut GenerationOptions) {
        options.client = caller.client;
        options.cache_salt = self.cache_namespace(caller.client, options.cache_salt.take());
    }

    /// Within which the prefix cache is shared: by the time a prompt takes one could find out what
    /// others have asked, so prompts of a key, and of a salt if there is one, keep to themselves.
    fn cache_namespace(&self, client: ClientId, salt: Option<Arc<str>>) -> Option<Arc<str>> {
        match (client, salt) {
            (_, salt) if self.services.share_prefix_cache => salt,
            (ClientId::ANYBODY, salt) => salt,
            (ClientId(key), None) => Some(format!("key {key}").into()),
            (ClientId(key), Some(salt)) => Some(format!("key {key}, salt {salt}").into()),
        }
    }

    /// Hands a prompt to the engine. `param` is the field that it came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub(crate) fn start(
        &self,
        mut prompt: PreparedPrompt,
        caller: &Caller,
        param: &str,
    ) -> Result<EventStream, ApiError> {
        self.own(caller, &mut prompt.options);
        let format = prompt.format.clone();
        let generation = prompt.start(&self.llm, caller.to_string(), param)?;
        Ok(self.held(generation.into_stream(), caller, format))
    }

    /// Hands several prompts to the engine.
    ///
    /// # Errors
    ///
    /// When the engine does not accept one of them.
    pub(crate) fn start_all(
        &self,
        mut prompts: RawPrompts,
        caller: &Caller,
        param: &str,
    ) -> Result<EventStream, ApiError> {
        self.own(caller, &mut prompts.options);
        let events = prompts.start(&self.llm, &caller.to_string(), param)?;
        Ok(self.held(events, caller, MessageFormat::default()))
    }

    /// `events`, until they end or are cut; the model stays in memory for so long. They are noted in the
    /// provenance log if there is one.
    fn held(&self, events: EventStream, caller: &Caller, format: MessageFormat) -> EventStream {
        let held = self.llm.clone();
        let log = self.services.provenance.clone();
        let clock = self.services.clock;
        let mut recorder = log.map(|log| {
            let label = Label::of(&self.llm);
            Recorder::new(log, label, caller.to_string(), clock, format)
        });
        let events = events.inspect(move |event| {
            let _ = &held;
            recorder.iter_mut().for_each(|recorder| recorder.see(event));
        });
        self.services.lifecycle.until_cut(events.boxed())
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
        let events = begin(events, self.services.keep_alive).await?;
        let response = sse::response(events, encoder, self.services.keep_alive);
        Ok(self.labelled(response))
    }

    /// What answers say of who wrote them, if they say it: those of personas always do.
    pub(crate) fn label(&self) -> Option<Label> {
        let is_labelled = self.services.label || self.llm.persona().is_some();
        is_labelled.then(|| Label::of(&self.llm))
    }

    /// An answer with the label in its head, if it has one.
    pub(crate) fn labelled(&self, mut response: Response) -> Response {
        self.label()
            .iter()
            .for_each(|label| label.put_on(&mut response));
        response
    }

    /// The embeddings of texts, given as token ids. `param` is the field that they came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept a text, or fails.
    pub(crate) async fn embed(
        &self,
        caller: &Caller,
        inputs: Vec<Vec<u32>>,
        param: &str,
    ) -> Result<Embeddings, ApiError> {
        let (client, name) = (caller.client, caller.to_string());
        self.llm.check_open("embeddings")?;
        let of = (&*self.llm, self.llm.adapter());
        tokio::select! {
            biased;
            () = self.services.lifecycle.cut() => Err(ApiError::shutting_down()),
            embeddings = embedding::embed(of, client, &name, inputs, param) => Ok(embeddings?),
        }
    }
}

/// Makes the response of a whole answer off the async workers: with log-probabilities it may be some
/// megabytes.
pub(crate) async fn tell(response: impl FnOnce() -> Response + Send + 'static) -> Response {
    let told = tokio::task::spawn_blocking(response).await;
    told.unwrap_or_else(|error| {
        let message = format!("The answer could not be written: {error}.");
        ApiError::internal(message).into_response()
    })
}
