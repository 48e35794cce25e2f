//! Who asks, and under which name: what every endpoint that computes has to know of a request.

use std::convert::Infallible;
use std::fmt;

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
        })
    }
}
