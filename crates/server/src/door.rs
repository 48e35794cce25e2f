//! The way in to a model: which one a request means, and the wait until it is in memory.
//!
//! What a request asks for is read later, with the model at hand ([`JsonBody::read`]); here no more is
//! looked at than says which model that is, and how its answer is to travel.

use std::time::Duration;

use matou_llm::Wanted;
use matou_llm::models::{KeepAlive, Models};
use serde::Deserialize;

use crate::body::{JsonBody, Peek};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::serving::{Services, Serving};

/// Bodies that are looked into on an async worker: a millisecond's work.
const SMALL_BODY: usize = 256 << 10;

/// The model that an address names: `?model=NAME`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Named {
    pub(crate) model: Option<String>,
}

/// What it takes to let requests in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) models: Models,
    pub(crate) services: Services,
}

impl Door {
    /// Lets a request in to the model that it names, once that is in memory.
    ///
    /// # Errors
    ///
    /// When the body is no JSON, when there is no such model or it cannot be had, when too many
    /// requests wait for it, and when answers are cut.
    pub(crate) async fn enter(
        &self,
        caller: &Caller,
        body: JsonBody,
    ) -> Result<(Serving, JsonBody), ApiError> {
        let (peek, body) = self.peek(caller, body).await?;
        let serving = self.let_in(caller, &peek, None).await?;
        Ok((serving, body))
    }

    /// Lets a request in whose address names its model.
    ///
    /// # Errors
    ///
    /// As of [`enter`](Self::enter).
    pub(crate) async fn by_name(&self, caller: &Caller, named: Named) -> Result<Serving, ApiError> {
        let peek = Peek {
            model: named.model,
            ..Peek::default()
        };
        self.let_in(caller, &peek, None).await
    }

    /// Looks at what says which model a body is for.
    ///
    /// # Errors
    ///
    /// When the body is no JSON.
    pub(crate) async fn peek(
        &self,
        caller: &Caller,
        body: JsonBody,
    ) -> Result<(Peek, JsonBody), ApiError> {
        if body.len() <= SMALL_BODY {
            return Ok((body.peek()?, body));
        }
        self.compute(caller, move |_| Ok((body.peek()?, body)))
            .await
    }

    /// Runs `work` that needs no model off the async workers.
    ///
    /// # Errors
    ///
    /// The error of `work`; 429 when too much of the client's waits already.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Wanted) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = self.services.workers.run(caller.client, work).await;
        done.unwrap_or_else(|_full| {
            let message = "Too many of your requests are being read already; try again later.";
            Err(ApiError::overloaded(message, Duration::from_secs(1)))
        })
    }

    /// Lets a request in that was looked at. The model is kept for `keep_alive` after it.
    ///
    /// # Errors
    ///
    /// As of [`enter`](Self::enter).
    pub(crate) async fn let_in(
        &self,
        caller: &Caller,
        peek: &Peek,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Serving, ApiError> {
        let model = peek.model.as_deref();
        if peek.streams {
            caller.waiting.begin(model);
        }
        let acquired = self.models.acquire(model, caller.client, keep_alive);
        let llm = tokio::select! {
            biased;
            () = self.services.lifecycle.cut() => return Err(ApiError::shutting_down()),
            acquired = acquired => acquired?,
        };
        caller.waiting.end();
        Ok(Serving {
            llm,
            services: self.services.clone(),
        })
    }
}
