//! Who may use the server: the keys that clients must show, and the web pages that may ask.
//!
//! Keys are compared by their digests and in constant time, each with every known one: how long it
//! takes tells nothing about them, not even their length.

use std::fmt;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::ApiError;

/// Anthropic's clients send the key under this name.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Load balancers and orchestrators ask for health without a key, and browsers for the page about the
/// API, which is the same on every server.
const OPEN_PATHS: [&str; 3] = ["/health", "/docs", "/openapi.json"];
/// What web pages may read of a response beside its body.
const EXPOSED: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), header::RETRY_AFTER];

/// Who may use the server. The default lets everybody in who can connect, but no web page of
/// another origin.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// One of these must be shown, if there are any.
    pub keys: ApiKeys,
    /// Web origins whose pages may read answers; `*` for all.
    pub allowed_origins: Vec<String>,
}

/// Keys that clients must show. Only their digests are kept.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} keys", self.0.len())
    }
}

impl<S: AsRef<str>> FromIterator<S> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = S>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| digest(key.as_ref())).collect())
    }
}

impl ApiKeys {
    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        let shown = digest(key);
        let found = self.0.iter().map(|known| known.ct_eq(&shown));
        found
            .fold(subtle::Choice::from(0), |any, one| any | one)
            .into()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Lets requests with a known key through.
pub(crate) async fn require_key(
    State(keys): State<ApiKeys>,
    request: Request,
    next: Next,
) -> Response {
    let is_open = keys.is_empty() || OPEN_PATHS.contains(&request.uri().path());
    let shown = shown_key(request.headers());
    if is_open || shown.is_some_and(|key| keys.contains(key)) {
        return next.run(request).await;
    }
    let mut response = ApiError::unauthorized(shown.is_some()).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The key of `Authorization: Bearer`, or else of `x-api-key`.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(key.trim_start())
    });
    bearer.or_else(|| text(X_API_KEY))
}

/// Answers the questions of browsers about pages of other origins. Without allowed origins it says
/// nothing, which browsers take for a no.
pub(crate) fn cors(access: &Access) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED);
    if access.allowed_origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(AllowOrigin::any());
    }
    let origins = access.allowed_origins.iter();
    layer.allow_origin(AllowOrigin::list(
        origins.filter_map(|origin| origin.parse::<HeaderValue>().ok()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_are_known() {
        let keys: ApiKeys = ["first", "second"].into_iter().collect();
        assert!(keys.contains("first") && keys.contains("second"));
        for other in ["", "firs", "firstt", "First", "first second"] {
            assert!(!keys.contains(other), "{other:?}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let keys: ApiKeys = ["secret"].into_iter().collect();
        assert_eq!(format!("{keys:?}"), "1 keys");
    }
}
