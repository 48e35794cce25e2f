//! The way in: whose key a request shows, or which browser it comes from.

use std::time::{Duration, Instant, SystemTime};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use matou_engine::ClientId;

use super::guesses::{Guesses, Peer};
use super::keys::{ApiKeys, Known};
use super::links::Links;
use super::owner::owner_of;
use super::sign_ins::SignIns;
use crate::clock::unix_time;
use crate::error::ApiError;

/// Anthropic's clients send the key under this name.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Browsers say with each request where the page is from that makes it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Load balancers and orchestrators ask for health without a key; browsers for the chat page, which is the
/// same on every server and where a key is asked for, for the authority that its certificate is from, and
/// for the page about the API; and they report what a page was kept from doing.
const OPEN_PATHS: [&str; 10] = [
    "/",
    "/health",
    "/docs",
    "/openapi.json",
    "/session",
    "/sw.js",
    "/manifest.webmanifest",
    "/favicon.ico",
    "/ca.pem",
    "/csp-report",
];
/// The files of the page.
const OPEN_FOLDER: &str = "/page/";

/// What it takes to tell who asks.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) keys: ApiKeys,
    pub(crate) sign_ins: SignIns,
    pub(crate) links: Links,
    pub(crate) guesses: Guesses,
    pub(crate) clock: fn() -> SystemTime,
}

impl Entrance {
    /// The key that is shown, if it is known.
    ///
    /// # Errors
    ///
    /// 401 if it is not, and 429 if the address has shown too many of those. A key that is too long to be
    /// guessed is let in in any case: who shares an address with somebody who guesses is not locked out.
    pub(crate) fn check(&self, key: &str, peer: Peer) -> Result<Known, ApiError> {
        let now = Instant::now();
        let found = self.keys.find(key);
        let wait = self.guesses.wait(peer, now);
        match (found, wait) {
            (Some(known), None) => Ok(known),
            (Some(known), Some(_)) if !known.is_short => Ok(known),
            (_, Some(wait)) => Err(too_many(wait)),
            (None, None) => {
                self.guesses.note(peer, now);
                Err(ApiError::unauthorized(true))
            }
        }
    }

    /// The key with which the browser is signed in that a request comes from.
    ///
    /// # Errors
    ///
    /// 403 if a page of another origin had the browser send it.
    pub(crate) fn signed_in(&self, parts: &Parts) -> Result<Option<Known>, ApiError> {
        let Some(token) = shown_cookie(&parts.headers) else {
            return Ok(None);
        };
        let Some(digest) = self.sign_ins.key(token, unix_time(self.clock)) else {
            return Ok(None);
        };
        if !is_same_origin(parts) {
            return Err(ApiError::cross_origin());
        }
        // A key that is gone takes those along who are signed in with it.
        Ok(self.keys.with_digest(&digest))
    }
}

fn too_many(wait: Duration) -> ApiError {
    ApiError::overloaded(
        "Too many wrong keys were shown from this address; try again later.",
        wait,
    )
}

/// Lets requests with a known key through, and says whose they are.
pub(crate) async fn require_key(
    State(entrance): State<Entrance>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match identify(&entrance, &parts) {
        Ok(known) => {
            let client = known.map_or(ClientId::ANYBODY, |known| known.client);
            parts.extensions.insert(client);
            parts.extensions.insert(owner_of(known.as_ref()));
            known.map(|known| parts.extensions.insert(known));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            let mut response = error.into_response();
            if response.status() == axum::http::StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                let headers = response.headers_mut();
                headers.insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

/// Whose request it is; nobody's where no key is needed.
fn identify(entrance: &Entrance, parts: &Parts) -> Result<Option<Known>, ApiError> {
    if entrance.keys.is_empty() {
        return Ok(None);
    }
    let path = parts.uri.path();
    let is_open = OPEN_PATHS.contains(&path) || path.starts_with(OPEN_FOLDER);
    if let Some(key) = shown_key(&parts.headers).filter(|_| !is_open) {
        return entrance.check(key, peer(parts)).map(Some);
    }
    match entrance.signed_in(parts) {
        Ok(Some(known)) => Ok(Some(known)),
        _ if is_open => Ok(None),
        Ok(None) => Err(ApiError::unauthorized(false)),
        Err(error) => Err(error),
    }
}

/// Where a request came from.
fn peer(parts: &Parts) -> Peer {
    let peer = parts.extensions.get::<Peer>().copied();
    peer.unwrap_or_else(Peer::unknown)
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

/// The name of the cookie. Browsers share cookies between the ports of a machine: servers beside each other
/// would sign each other's users out if they called it alike.
pub(crate) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let port = host
        .and_then(|host| host.rsplit_once(':'))
        .map(|(_, port)| port);
    let port = port.filter(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    format!("matou-{}", port.unwrap_or("default"))
}

/// The token of the cookie, if there is one.
pub(crate) fn shown_cookie(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut cookies = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| {
        let (shown, value) = cookie.trim().split_once('=')?;
        (shown == name).then_some(value)
    })
}

/// Whether it was a page of this server that had a browser send a request, or its user. Browsers say so;
/// of those that do not, what changes nothing is taken, and what comes from a page of the same host.
pub(crate) fn is_same_origin(parts: &Parts) -> bool {
    let text = |name| {
        let value = parts.headers.get(name);
        value.map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text(SEC_FETCH_SITE) {
        return matches!(site, "same-origin" | "none");
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => {
            let origin = origin.parse::<Uri>().ok();
            let authority = origin.as_ref().and_then(Uri::authority);
            authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
        (None, _) => matches!(parts.method, Method::GET | Method::HEAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers
            .iter()
            .fold(Request::builder().method(method), |request, header| {
                request.header(header.0, header.1)
            });
        request
            .body(axum::body::Body::empty())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn a_cookie_is_used_by_pages_of_this_server_only() {
        let host = ("host", "box.lan:8080");
        for (method, header) in [
            ("POST", ("sec-fetch-site", "same-origin")),
            ("GET", ("sec-fetch-site", "none")),
            ("POST", ("origin", "https://box.lan:8080")),
            ("GET", ("accept", "text/html")),
        ] {
            assert!(
                is_same_origin(&parts(method, &[host, header])),
                "{header:?}"
            );
        }
        for (method, header) in [
            ("GET", ("sec-fetch-site", "same-site")),
            ("GET", ("sec-fetch-site", "cross-site")),
            ("POST", ("origin", "https://box.lan:3000")),
            ("POST", ("origin", "https://evil.example")),
            ("POST", ("origin", "null")),
            ("POST", ("accept", "text/html")),
        ] {
            assert!(
                !is_same_origin(&parts(method, &[host, header])),
                "{header:?}"
            );
        }
    }

    #[test]
    fn servers_of_one_machine_have_cookies_of_their_own() {
        let two = ("cookie", "a=b; matou-8080=one;matou-8081=two");
        let shown = |host| {
            let parts = parts("GET", &[("host", host), two]);
            shown_cookie(&parts.headers).map(str::to_owned)
        };
        assert_eq!(shown("localhost:8080").as_deref(), Some("one"));
        assert_eq!(shown("[::1]:8081").as_deref(), Some("two"));
        assert_eq!(shown("box.lan"), None);
    }
}
