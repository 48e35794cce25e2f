//! Who asks, and under which name: what every endpoint that computes has to know of a request.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::access::owner_of;
use crate::request_id::RequestId;
use matou_engine::ClientId;
use matou_history::Owner;

/// Who asks, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose key it was.
    pub(crate) client: ClientId,
    /// To whom it belongs what is kept for it.
    pub(crate) owner: Owner,
    /// The request's name.
    pub(crate) id: RequestId,
    /// Whether it waits for its model.
    pub(crate) waiting: Waiting,
}

/// The request's name.
impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.id.fmt(formatter)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let given = &parts.extensions;
        Ok(Self {
            client: given.get().copied().unwrap_or(ClientId::ANYBODY),
            owner: given.get().cloned().unwrap_or_else(|| owner_of(None)),
            id: given.get().cloned().unwrap_or_else(RequestId::random),
            waiting: given.get().cloned().unwrap_or_default(),
        })
    }
}

/// Whether a request waits for its model, and its client for a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Wait>);

#[derive(Debug, Default)]
struct Wait {
    is_on: AtomicBool,
    /// The name that the request gave its model.
    model: OnceLock<Option<String>>,
}

impl Waiting {
    pub(crate) fn begin(&self, model: Option<&str>) {
        self.0.model.get_or_init(|| model.map(str::to_owned));
        self.0.is_on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.is_on.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// The name of the model that is waited for.
    pub(crate) fn model(&self) -> Option<&str> {
        self.0.model.get()?.as_deref()
    }
}
