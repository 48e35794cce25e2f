//! Who may use the server: the keys that clients must show, and the web pages that may ask.
//!
//! Keys are compared by their digests and in constant time, each with every known one: how long it
//! takes tells nothing about them, not even their length.
//!
//! A server without keys on a loopback address trusts the programs of its machine, but not the pages
//! that a browser on it has open. They are told by `Origin`, which browsers send with whatever a page
//! posts elsewhere, and by `Host`: a page whose site's name was made to resolve to this machine sends no
//! `Origin` with what it fetches, and the name it was loaded by.

use std::fmt;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use matou_engine::ClientId;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::ApiError;

/// Anthropic's clients send the key under this name.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Load balancers and orchestrators ask for health without a key, and browsers for the page about the
/// API, which is the same on every server.
const OPEN_PATHS: [&str; 4] = ["/", "/health", "/docs", "/openapi.json"];
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
    /// Further names by which this machine is asked, beside addresses and names that no public site
    /// can have; `*` for all. They matter on a loopback address, without keys.
    pub allowed_hosts: Vec<String>,
    /// Whether only this machine can connect. [`serve`](crate::serve) finds it out itself.
    pub is_loopback: bool,
}

/// Keys that clients must show. Only their digests are kept, each with the number of its client.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Vec<([u8; 32], u32)>,
    /// Clients that there are or were.
    numbered: u32,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} keys", self.keys.len())
    }
}

impl<S: AsRef<str>> FromIterator<S> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = S>>(keys: I) -> Self {
        let digests = keys.into_iter().map(|key| digest(key.as_ref()));
        Self::numbered_after(digests, &Self::default())
    }
}

impl ApiKeys {
    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// These keys in the place of others: one that was known stays the same client's, and the number of
    /// one that is gone is nobody's again.
    pub(crate) fn after(&self, before: &Self) -> Self {
        Self::numbered_after(self.keys.iter().map(|(digest, _)| *digest), before)
    }

    fn numbered_after(digests: impl Iterator<Item = [u8; 32]>, before: &Self) -> Self {
        let mut numbered = before.numbered;
        let mut keys: Vec<([u8; 32], u32)> = Vec::new();
        for digest in digests {
            let mut known = keys.iter().chain(&before.keys);
            let number = match known.find(|(known, _)| *known == digest) {
                Some((_, number)) => *number,
                None => {
                    numbered += 1;
                    numbered
                }
            };
            keys.push((digest, number));
        }
        Self { keys, numbered }
    }

    /// Whose key it is, if it is one of them. The same key given twice is one client's.
    fn client(&self, key: &str) -> Option<ClientId> {
        let shown = digest(key);
        let found = self.keys.iter().fold(0, |found, (known, number)| {
            let is_first = known.ct_eq(&shown) & found.ct_eq(&0);
            u32::conditional_select(&found, number, is_first)
        });
        (found != 0).then_some(ClientId(found))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Lets requests with a known key through, and says whose they are.
pub(crate) async fn require_key(
    State(keys): State<ApiKeys>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_open = keys.is_empty() || OPEN_PATHS.contains(&request.uri().path());
    let shown = shown_key(request.headers());
    let client = match is_open {
        true => Some(ClientId::ANYBODY),
        false => shown.and_then(|key| keys.client(key)),
    };
    if let Some(client) = client {
        request.extensions_mut().insert(client);
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

/// Refuses what a page of another site asks for, where no key protects the server: a browser would
/// send it without asking, as long as it looks like a form. Its `Origin` tells, or the name by which it
/// asks; programs send no `Origin`, and ask this machine by a name of its own.
pub(crate) async fn refuse_other_sites(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    if !access.keys.is_empty() {
        return next.run(request).await;
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers();
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if let Some(origin) = origins.find(|origin| !access.lets_in(origin)) {
        return ApiError::other_site(&text(origin)).into_response();
    }
    let target = request.uri().authority().map(|target| target.to_string());
    let hosts = headers.get_all(header::HOST).iter().map(text).chain(target);
    if let Some(host) = hosts.into_iter().find(|host| !access.is_asked_as(host)) {
        return ApiError::other_host(&host).into_response();
    }
    next.run(request).await
}

impl Access {
    /// Whether a request may ask for `host`, a name or address with or without a port.
    fn is_asked_as(&self, host: &str) -> bool {
        if !self.is_loopback {
            return true;
        }
        let Ok(host) = host.parse::<Authority>() else {
            return false;
        };
        let host = host.host().trim_end_matches('.').to_ascii_lowercase();
        let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(&host);
        // Nobody can have an address resolve to another.
        let is_address = || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address() || is_local_name(&host) || self.allowed_hosts.iter().any(is_allowed)
    }

    /// Whether pages of `origin` may use a server without keys: those that are allowed by name, those
    /// of this machine and of the local network, and programs that are no web pages.
    fn lets_in(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let is_allowed = |allowed: &String| allowed == "*" || allowed == origin;
        if self.allowed_origins.iter().any(is_allowed) {
            return true;
        }
        let Ok(uri) = origin.parse::<Uri>() else {
            return false;
        };
        match (uri.scheme_str(), uri.host()) {
            // Another site may have itself resolved to this machine, but not under such a name.
            (Some("http" | "https"), Some(host)) => is_local_name(host),
            // Editors and desktop applications have schemes of their own.
            (Some(_), _) => true,
            // `null`: a page that has no site.
            (None, _) => false,
        }
    }
}

/// Whether a host has an address or a name that no public site can have.
fn is_local_name(host: &str) -> bool {
    const LOCAL: [&str; 5] = ["localhost", "local", "lan", "internal", "home.arpa"];
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_below = |suffix: &str| {
        let rest = host.strip_suffix(suffix);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let [first, second, ..] = address.octets();
            // Carriers' and overlay networks' own (RFC 6598).
            let is_shared = first == 100 && (64..128).contains(&second);
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => !host.contains('.') || LOCAL.into_iter().any(is_below),
    }
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
        let keys: ApiKeys = ["first", "second", "first"].into_iter().collect();
        assert_eq!(keys.client("first"), Some(ClientId(1)));
        assert_eq!(keys.client("second"), Some(ClientId(2)));
        for other in ["", "firs", "firstt", "First", "first second"] {
            assert_eq!(keys.client(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_key_stays_its_clients_when_others_come_and_go() {
        let first: ApiKeys = ["a", "b"].into_iter().collect();
        let second = ["c", "b"].into_iter().collect::<ApiKeys>().after(&first);
        assert_eq!(second.client("b"), Some(ClientId(2)));
        assert_eq!(second.client("c"), Some(ClientId(3)));
        assert_eq!(second.client("a"), None);
        let third = ["a", "b"].into_iter().collect::<ApiKeys>().after(&second);
        assert_eq!(
            third.client("a"),
            Some(ClientId(4)),
            "no number is given again"
        );
        assert_eq!(third.client("b"), Some(ClientId(2)));
    }

    #[test]
    fn names_of_this_machine_are_told_from_those_of_sites() {
        let access = Access {
            allowed_hosts: vec!["llm.example".to_owned()],
            is_loopback: true,
            ..Access::default()
        };
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1:80",
            "[::1]:8080",
            "203.0.113.7",
            "host.docker.internal",
            "box:1",
            "box.local",
            "LLM.example:8080",
        ] {
            assert!(access.is_asked_as(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "llm.example.evil.example",
            "",
            "a b",
            "x@evil.example",
        ] {
            assert!(!access.is_asked_as(host), "{host}");
        }
        let open = Access::default();
        assert!(
            open.is_asked_as("evil.example"),
            "others may have any name for it"
        );
    }

    #[test]
    fn pages_of_other_sites_are_told_from_those_at_home() {
        let access = Access {
            allowed_origins: vec!["https://ui.example".to_owned()],
            ..Access::default()
        };
        let lets_in = |origin: &str| access.lets_in(&HeaderValue::from_str(origin).unwrap());
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "http://[::1]:8080",
            "http://192.168.1.5:8080",
            "http://100.101.102.103",
            "http://[fd00::1]",
            "https://box.lan",
            "http://box",
            "vscode-webview://abc",
            "app://obsidian.md",
            "https://ui.example",
        ] {
            assert!(lets_in(origin), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "https://ui.example.evil.example",
            "https://localhost.evil.example",
            "http://notlocalhost.com",
            "http://203.0.113.7",
            "http://[2001:db8::1]",
            "null",
            "",
        ] {
            assert!(!lets_in(origin), "{origin}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let keys: ApiKeys = ["secret"].into_iter().collect();
        assert_eq!(format!("{keys:?}"), "1 keys");
    }
}
