//! The chat page, and what it is allowed to do.
//!
//! The page shows what models write, and models write what strangers have them write. It has no way to
//! make markup of text (Trusted Types), runs no script but its own files and asks no other host; what
//! it tries against that is refused by the browser, reported and counted.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRef, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use matou_page::{Asset, asset};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::reach::Reach;
use crate::state::AppState;
use crate::violations::Violations;

/// What the page may do.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types matou; report-uri /csp-report";
/// The same for all that the page consists of.
const GUARDS: [(header::HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // A browser asks whether it has changed: a new server brings a new page.
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding, accept"),
];
/// Most bytes of a report that are read.
const MAX_REPORT: usize = 16 << 10;
/// How long one may take to come.
const REPORT_TIME: Duration = Duration::from_secs(5);
/// What programs read that ask for the root: Ollama's clients ask whether anybody is there.
const GREETING: &str = "matou is running. The chat page is at / in a browser; OpenAI's API is at /v1, \
     Anthropic's at /v1/messages, Ollama's at /api, their description at /docs.\n";

impl FromRef<AppState> for Violations {
    fn from_ref(state: &AppState) -> Self {
        state.violations.clone()
    }
}

impl FromRef<AppState> for Reach {
    fn from_ref(state: &AppState) -> Self {
        state.reach.clone()
    }
}

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(root))
        .route("/page/{*path}", get(file))
        // A service worker has power over the folder that it is in.
        .route(
            "/sw.js",
            get(async |headers: HeaderMap| named("sw.js", &headers)),
        )
        .route(
            "/manifest.webmanifest",
            get(async |headers: HeaderMap| named("manifest.webmanifest", &headers)),
        )
        .route(
            "/favicon.ico",
            get(async |headers: HeaderMap| named("icons/favicon.ico", &headers)),
        )
        .route("/ca.pem", get(authority))
        .route("/csp-report", post(report))
}

/// The page for browsers, a line of text for programs.
async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT);
    let accepts = accepts.and_then(|accepts| accepts.to_str().ok());
    match accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        true => named("index.html", &headers),
        false => ([(header::VARY, "accept")], GREETING).into_response(),
    }
}

async fn file(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match asset(&path) {
        Some(asset) => sent(asset, &headers),
        None => ApiError::unknown_url("GET", uri.path()).into_response(),
    }
}

fn named(path: &str, headers: &HeaderMap) -> Response {
    match asset(path) {
        Some(asset) => sent(asset, headers),
        None => ApiError::unknown_url("GET", path).into_response(),
    }
}

/// A file, as far as the browser does not have it.
fn sent(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Compressed or not, it is the same file: a weak tag says so.
    let etag = [(header::ETAG, format!("W/{}", asset.etag))];
    let known = text(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.split(',').any(|tag| is_tag(tag, &asset.etag))) {
        return (StatusCode::NOT_MODIFIED, GUARDS, etag).into_response();
    }
    let media_type = [(header::CONTENT_TYPE, asset.media_type)];
    let takes_gzip = text(header::ACCEPT_ENCODING).is_some_and(takes_gzip);
    let mut response = match asset.gzip.as_ref().filter(|_| takes_gzip) {
        Some(gzip) => {
            let mut response = Bytes::from_static(gzip).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        None => Bytes::from_static(&asset.bytes).into_response(),
    };
    response.headers_mut().remove(header::CONTENT_TYPE);
    (GUARDS, etag, media_type, response).into_response()
}

/// Whether a tag of `If-None-Match` is this one, weak or strong.
fn is_tag(shown: &str, tag: &str) -> bool {
    let shown = shown.trim();
    shown == "*" || shown.strip_prefix("W/").unwrap_or(shown) == tag
}

/// Whether `Accept-Encoding` has gzip in it, and does not refuse it.
fn takes_gzip(accepts: &str) -> bool {
    accepts.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=");
        let quality = quality.and_then(|quality| quality.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_some_and(|quality| quality > 0.0)
    })
}

/// The certificate of the authority that this machine's own is from, for devices to trust.
async fn authority(State(reach): State<Reach>) -> Response {
    let Some(pem) = reach.authority else {
        return ApiError::unknown_url("GET", "/ca.pem").into_response();
    };
    let head = [
        (header::CONTENT_TYPE, "application/x-x509-ca-cert"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"matou-ca.pem\"",
        ),
    ];
    (head, pem).into_response()
}

/// Counts what a browser kept a page from doing. Anybody can send such a report: it is counted and told
/// in the log of who wants to see it, and no more.
async fn report(State(violations): State<Violations>, request: Request) -> StatusCode {
    violations.note();
    let mut report = Vec::new();
    let mut body = request.into_body().into_data_stream();
    let read = async {
        while let Some(Ok(bytes)) = body.next().await {
            report.extend_from_slice(&bytes[..bytes.len().min(MAX_REPORT - report.len())]);
            if report.len() == MAX_REPORT {
                break;
            }
        }
    };
    // What has not come by then is not missed.
    let _ = timeout(REPORT_TIME, read).await;
    tracing::debug!(report = %String::from_utf8_lossy(&report).escape_debug(), "policy violated");
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for yes in ["gzip", "br, GZIP", "gzip;q=0.5, *"] {
            assert!(takes_gzip(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip;q=0.000", "x-gzip"] {
            assert!(!takes_gzip(no), "{no}");
        }
    }

    #[test]
    fn a_tag_is_known_again() {
        assert!(is_tag(" \"a\"", "\"a\"") && is_tag("W/\"a\"", "\"a\"") && is_tag("*", "\"a\""));
        assert!(!is_tag("\"b\"", "\"a\"") && !is_tag("a", "\"a\""));
    }
}
