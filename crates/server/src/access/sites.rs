//! Web pages that may ask, told by `Origin` and by `Host`.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::rules::Access;
use crate::error::ApiError;

/// What web pages may read of a response beside its body.
const EXPOSED: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), header::RETRY_AFTER];

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
    // What is kept here is for programs and for this server's own pages: others of the network may ask
    // models, and no more.
    let site = headers.get("sec-fetch-site").map(text);
    let is_elsewhere = matches!(site.as_deref(), Some("cross-site" | "same-site"));
    let is_allowed = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| access.is_named(origin));
    if is_elsewhere && !is_allowed && changes_what_is_kept(&request) {
        return ApiError::cross_origin().into_response();
    }
    let target = request.uri().authority().map(|target| target.to_string());
    let hosts = headers.get_all(header::HOST).iter().map(text).chain(target);
    if let Some(host) = hosts.into_iter().find(|host| !access.is_asked_as(host)) {
        return ApiError::other_host(&host).into_response();
    }
    next.run(request).await
}

/// Whether a request is to change conversations, personas or who is signed in.
fn changes_what_is_kept(request: &Request) -> bool {
    let path = request.uri().path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let is_kept = ["/history", "/personas", "/session"]
        .into_iter()
        .any(|folder| path.starts_with(folder));
    is_kept && !matches!(*request.method(), Method::GET | Method::HEAD)
}

impl Access {
    /// Whether pages of an origin are allowed by name.
    fn is_named(&self, origin: &HeaderValue) -> bool {
        let is_it = |allowed: &String| allowed == "*" || allowed.as_bytes() == origin.as_bytes();
        self.allowed_origins.iter().any(is_it)
    }

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
        if self.is_named(origin) {
            return true;
        }
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let Ok(uri) = origin.parse::<Uri>() else {
            return false;
        };
        match (uri.scheme_str(), uri.host()) {
            // Another site may have itself resolved to this machine, but not under such a name. One that
            // the owner says is this machine's has this server's own pages.
            (Some("http" | "https"), Some(host)) => {
                let is_ours = |allowed: &String| allowed.eq_ignore_ascii_case(host);
                is_local_name(host) || self.allowed_hosts.iter().any(is_ours)
            }
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
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
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
            allowed_hosts: vec!["llm.example".to_owned()],
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
            "https://llm.example:8443",
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
}
