//! Who asks, and under which name: what every endpoint that computes has to know of a request.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::request_id::RequestId;
use matou_engine::ClientId;

/// Who asks, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose key it was.
    pub(crate) client: ClientId,
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
            id: given.get().cloned().unwrap_or_else(RequestId::random),
            waiting: given.get().cloned().unwrap_or_default(),
        })
    }
}

/// Whether a request waits for its model, and its client for a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Waiting {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
