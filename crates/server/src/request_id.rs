//! A name for each request: the client's `x-request-id`, or one of ours. It is returned in the
//! response, is part of the answer's id, and marks all log lines of the request.

use std::fmt;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, info, info_span};
use uuid::Uuid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer names than this are replaced: they go into logs and answers.
const MAX_LENGTH: usize = 128;

/// The name of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl RequestId {
    /// The client's name for the request if it is one that can be repeated, or a random one.
    fn new(headers: &HeaderMap) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let usable = |id: &&str| {
            (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self(
            given
                .filter(usable)
                .map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned),
        )
    }
}

/// Names the request, and traces it under that name until its response begins.
pub(crate) async fn name_request(mut request: Request, next: Next) -> Response {
    let id = RequestId::new(request.headers());
    request.extensions_mut().insert(id.clone());
    let span = info_span!(
        "request",
        id = %id,
        method = %request.method(),
        path = request.uri().path(),
        // The client's own labels, which the endpoints fill in.
        user = Empty,
        metadata = Empty,
    );
    let start = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| {
        info!(
            status = response.status().as_u16(),
            seconds = start.elapsed().as_secs_f64(),
            "responded"
        )
    });
    let value = HeaderValue::from_str(&id.0).expect("an id has visible ASCII characters only");
    response.headers_mut().insert(X_REQUEST_ID, value);
    response
}
