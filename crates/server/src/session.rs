//! Signing a browser in: it shows its key once, or opens a link that somebody who is signed in has made,
//! and has a cookie from then on.

use std::time::Instant;

use axum::extract::{FromRef, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::access::{
    Entrance, Known, LINK_LIFE, Peer, SIGN_IN_LIFE, cookie_name, is_same_origin, owner_of,
    shown_cookie,
};
use crate::blocking::blocking;
use crate::body::{BodyBudget, JsonBody, plain};
use crate::clock::unix_time;
use crate::error::ApiError;
use crate::limits::Limits;
use crate::reach::Reach;
use crate::state::AppState;

/// What the page has to know of the server before anybody is signed in, and what it takes to do that.
#[derive(Clone)]
struct SessionState {
    entrance: Entrance,
    reach: Reach,
    keeps_history: bool,
    edits_personas: bool,
    limits: Limits,
    bodies: BodyBudget,
}

impl FromRef<AppState> for SessionState {
    fn from_ref(state: &AppState) -> Self {
        Self {
            entrance: state.entrance(),
            reach: state.reach.clone(),
            keeps_history: state.shelf.keeps_history,
            edits_personas: state.edits_personas(),
            limits: state.limits.clone(),
            bodies: state.bodies.clone(),
        }
    }
}

impl FromRef<SessionState> for Limits {
    fn from_ref(state: &SessionState) -> Self {
        state.limits.clone()
    }
}

impl FromRef<SessionState> for BodyBudget {
    fn from_ref(state: &SessionState) -> Self {
        state.bodies.clone()
    }
}

/// The routes of this module.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/session", get(tell).post(sign_in).delete(sign_out))
        .route("/session/links", post(link))
}

/// What a browser may know of the server, and whether it is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SessionObject {
    /// `session`.
    object: &'static str,
    version: &'static str,
    /// Whether the server has keys.
    needs_key: bool,
    /// Whether this browser may use it.
    signed_in: bool,
    /// Whose browser it is, for what the page keeps in it; another key's is another.
    user: Option<String>,
    /// Whether conversations are kept on the server.
    history: bool,
    /// Whether this browser's user may add, change and delete personas.
    persona_editing: bool,
    /// Whether the connection is encrypted, as far as the server knows.
    is_secure: bool,
}

/// `POST /session`: one of the two.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct SignInRequest {
    /// A key of the server.
    pub key: Option<String>,
    /// The token of a link.
    pub token: Option<String>,
}

plain!(SignInRequest);

impl SessionState {
    fn told(&self, headers: &HeaderMap, known: Option<&Known>) -> SessionObject {
        let needs_key = !self.entrance.keys.is_empty();
        SessionObject {
            object: "session",
            version: env!("CARGO_PKG_VERSION"),
            needs_key,
            signed_in: !needs_key || known.is_some(),
            user: (!needs_key || known.is_some()).then(|| owner_of(known).as_str().to_owned()),
            history: self.keeps_history,
            persona_editing: self.edits_personas,
            is_secure: self.is_secure(headers),
        }
    }

    /// Whether the browser's connection is encrypted: up to here, or up to a proxy that says so.
    fn is_secure(&self, headers: &HeaderMap) -> bool {
        let before = headers.get("x-forwarded-proto");
        self.reach.is_secure || before.is_some_and(|protocol| protocol == "https")
    }

    /// The cookie that keeps a browser signed in with `token`, or, with none, no longer.
    fn cookie(&self, headers: &HeaderMap, token: &str) -> Option<HeaderValue> {
        let name = cookie_name(headers);
        let life = match token.is_empty() {
            true => 0,
            false => SIGN_IN_LIFE.as_secs(),
        };
        let secure = match self.is_secure(headers) {
            true => "; Secure",
            false => "",
        };
        let cookie =
            format!("{name}={token}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::from_str(&cookie).ok()
    }
}

async fn tell(State(state): State<SessionState>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let told = state.told(&parts.headers, parts.extensions.get());
    (NOT_STORED, Json(told)).into_response()
}

/// Answers that are for one browser at one time.
const NOT_STORED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

async fn sign_in(
    State(state): State<SessionState>,
    parts: Parts,
    body: JsonBody,
) -> Result<Response, ApiError> {
    // Programs, which say nothing of an origin, may sign in too.
    if !is_same_origin(&parts) && parts.headers.contains_key(header::ORIGIN) {
        return Err(ApiError::cross_origin());
    }
    let SignInRequest { key, token } = body.read()?;
    let entrance = &state.entrance;
    if entrance.keys.is_empty() {
        let told = state.told(&parts.headers, None);
        return Ok((NOT_STORED, Json(told)).into_response());
    }
    let peer = parts.extensions.get::<Peer>().copied();
    let known = match (key, token) {
        (Some(key), None) => entrance.check(&key, peer.unwrap_or_else(Peer::unknown))?,
        (None, Some(token)) => {
            let digest = entrance.links.take(&token, Instant::now());
            let known = digest.and_then(|digest| entrance.keys.with_digest(&digest));
            known.ok_or_else(ApiError::link_used)?
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "Give either `key`, a key of the server, or `token`, that of a link.";
            return Err(ApiError::bad_request(message));
        }
    };
    let (sign_ins, now) = (entrance.sign_ins.clone(), unix_time(entrance.clock));
    let token = blocking(move || sign_ins.add(known.digest, now)).await??;
    let told = Json(state.told(&parts.headers, Some(&known)));
    let mut response = (NOT_STORED, told).into_response();
    let cookie = state.cookie(&parts.headers, &token);
    set_cookie(&mut response, cookie);
    Ok(response)
}

async fn sign_out(State(state): State<SessionState>, parts: Parts) -> Result<Response, ApiError> {
    if !is_same_origin(&parts) {
        return Err(ApiError::cross_origin());
    }
    if let Some(token) = shown_cookie(&parts.headers) {
        let (sign_ins, token) = (state.entrance.sign_ins.clone(), token.to_owned());
        blocking(move || sign_ins.remove(&token)).await??;
    }
    let told = Json(state.told(&parts.headers, None));
    let mut response = (NOT_STORED, told).into_response();
    let cookie = state.cookie(&parts.headers, "");
    set_cookie(&mut response, cookie);
    Ok(response)
}

/// Makes a link that signs another browser in with the same key, once.
async fn link(State(state): State<SessionState>, parts: Parts) -> Result<Response, ApiError> {
    let host = parts.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let base = state
        .reach
        .url(host, state.is_secure(&parts.headers))
        .ok_or_else(ApiError::out_of_reach)?;
    let known = parts.extensions.get::<Known>();
    let token = known.map(|known| state.entrance.links.give(known.digest, Instant::now()));
    let url = match token {
        Some(token) => format!("{base}/#login={token}"),
        None => format!("{base}/"),
    };
    let expires_at = known.map(|_| unix_time(state.entrance.clock) + LINK_LIFE.as_secs());
    let qr = matou_tls::qr_svg(&url);
    let link = json!({
        "object": "session.link", "url": url, "expires_at": expires_at, "qr": qr,
    });
    Ok((NOT_STORED, Json(link)).into_response())
}

fn set_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    debug_assert_eq!(response.status(), StatusCode::OK);
    cookie.map(|cookie| response.headers_mut().append(header::SET_COOKIE, cookie));
}
