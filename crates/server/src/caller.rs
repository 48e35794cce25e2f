//! Who asks, and under which name: what every endpoint that computes has to know of a request.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::access::Client;
use crate::request_id::RequestId;

/// Who asks, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose key it was.
    pub(crate) client: Client,
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
            client: given.get().copied().unwrap_or(Client::ANYBODY),
            id: given.get().cloned().unwrap_or_else(RequestId::random),
        })
    }
}
