//! What a client is told when a request fails.
//!
//! Every failure of this server, whichever layer finds it, becomes an [`ApiError`]: an HTTP status
//! and OpenAI's error object `{"error": {"message", "type", "param", "code"}}`, which every client
//! library knows how to read. Before the first token it is the whole response; after it, the same
//! object travels as an event of the stream.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use matou_history::HistoryError;
use matou_llm::{ErrorKind, LlmError};
use serde::Serialize;

/// A failed request, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<Duration>,
    context_length: Option<Box<(usize, usize)>>,
}

/// The JSON of an error: `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

/// Most characters of a message: errors quote what a client sent, which may be long.
const MAX_MESSAGE: usize = 1000;
/// Most characters of the path of a field.
const MAX_PARAM: usize = 200;

/// `text`, or as much of it as can be read at a glance.
fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: cut(message.into(), MAX_MESSAGE),
            kind,
            param: None,
            code: None,
            retry_after: None,
            context_length: None,
        }
    }

    fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(cut(param.into(), MAX_PARAM));
        self
    }

    fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// 400: the request as a whole cannot be read or makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400: the field `param` has a value that is not allowed.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(message)
            .with_param(param)
            .with_code("invalid_value")
    }

    /// 400: the field `param` has the wrong JSON type.
    pub(crate) fn wrong_type(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(message)
            .with_param(param)
            .with_code("invalid_type")
    }

    /// 400: the field `param` asks for something that this server or this model cannot do.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(message)
            .with_param(param)
            .with_code("unsupported_parameter")
    }

    /// 400: a prompt of `prompt_tokens` leaves no room in the context.
    fn context_length_exceeded(
        param: impl Into<String>,
        message: impl Into<String>,
        prompt_tokens: usize,
        max_model_len: usize,
    ) -> Self {
        let mut error = Self::bad_request(message)
            .with_param(param)
            .with_code("context_length_exceeded");
        error.context_length = Some(Box::new((prompt_tokens, max_model_len)));
        error
    }

    /// 401: the request shows no key, or one that is not known.
    pub(crate) fn unauthorized(shown: bool) -> Self {
        let message = match shown {
            true => "Incorrect API key provided.",
            false => {
                "You didn't provide an API key. Send it as `Authorization: Bearer KEY` or as \
                 `x-api-key: KEY`."
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
            .with_code("invalid_api_key")
    }

    /// 403: a page of a site that may not use this server has sent the request.
    pub(crate) fn other_site(origin: &str) -> Self {
        let message = format!(
            "Pages of {origin} may not use this server. Start it with `--allowed-origins {origin}` to \
             let them, or with `--api-key` to let in whoever has the key."
        );
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
            .with_code("origin_not_allowed")
    }

    /// 403: the server's owner does not let clients do this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message).with_code("not_allowed")
    }

    /// 404: the request names a thing that this server does not have (any more).
    pub(crate) fn not_found(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .with_param(param)
            .with_code("not_found")
    }

    /// 400: `param` names a response that is not kept (any more).
    pub(crate) fn not_kept(param: &str, message: String) -> Self {
        Self::bad_request(message)
            .with_param(param)
            .with_code("previous_response_not_found")
    }

    /// 404: the request names a model that is not served here.
    pub(crate) fn model_not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .with_param("model")
            .with_code("model_not_found")
    }

    /// 404: no such route.
    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}.");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).with_code("unknown_url")
    }

    /// 405: the route exists, for other methods.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("Not allowed to {method} on {path}.");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            message,
        )
        .with_code("method_not_supported")
    }

    /// 403: the server is asked by a name that is not its machine's.
    pub(crate) fn other_host(host: &str) -> Self {
        let message = format!(
            "This server is not called \"{host}\". Start it with `--allowed-hosts` and that name to be \
             asked by it, or with `--api-key` to let in whoever has the key."
        );
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
            .with_code("host_not_allowed")
    }

    /// 403: a page of another origin had a browser send the request that is signed in here.
    pub(crate) fn cross_origin() -> Self {
        let message = "A browser that is signed in takes orders from this server's own pages only. \
                       Programs send a key.";
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message).with_code("cross_origin")
    }

    /// 401: the link that was to sign a browser in was used, or is too old.
    pub(crate) fn link_used() -> Self {
        let message =
            "This link was used already, or is too old: make another, or sign in with a key.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
            .with_code("invalid_link")
    }

    /// 400: nobody else can reach the server.
    pub(crate) fn out_of_reach() -> Self {
        Self::bad_request(
            "Only this machine can reach the server. Start it with `--host 0.0.0.0 --tls-self-signed` \
             and a key to open it on other devices.",
        )
        .with_code("out_of_reach")
    }

    /// 404: this server keeps no conversations.
    pub(crate) fn history_off() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            "This server keeps no conversations (`--no-history`).",
        )
        .with_code("history_off")
    }

    /// 409: the answer was ended before it began.
    pub(crate) fn stopped() -> Self {
        let message = "The answer was stopped before it began.";
        Self::new(StatusCode::CONFLICT, "invalid_request_error", message).with_code("stopped")
    }

    /// 507: there is no room to keep what the request wants kept.
    pub(crate) fn storage_full() -> Self {
        let message =
            "The server's disk is full: delete conversations, or have its owner make room.";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "server_error", message)
            .with_code("storage_full")
    }

    /// 400: the length of the body is stated twice, in ways that may contradict each other.
    pub(crate) fn ambiguous_length() -> Self {
        Self::bad_request(
            "The request has both `Content-Length` and `Transfer-Encoding`: send one of them.",
        )
        .with_code("ambiguous_length")
    }

    /// 415: the body is compressed.
    pub(crate) fn unsupported_encoding() -> Self {
        let message =
            "The request body has a `Content-Encoding`; this server reads plain JSON only.";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            message,
        )
        .with_code("unsupported_encoding")
    }

    /// 408: the body did not come in time.
    pub(crate) fn request_timeout(limit: Duration) -> Self {
        let message = format!(
            "The request body has not come within {} seconds.",
            limit.as_secs_f64()
        );
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            message,
        )
        .with_code("request_timeout")
    }

    /// 413: the body is larger than the server accepts.
    pub(crate) fn payload_too_large(limit: usize) -> Self {
        let message =
            format!("The request body is larger than the {limit} bytes that this server accepts.");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            message,
        )
        .with_code("request_too_large")
    }

    /// 429: the queue is full; worth trying again after `retry_after`.
    pub(crate) fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        error.retry_after = Some(retry_after);
        error.with_code("rate_limit_exceeded")
    }

    /// 503: the model cannot be had now; worth trying again after `retry_after`, if ever.
    pub(crate) fn model_unavailable(message: String, retry_after: Option<Duration>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        error.retry_after = retry_after;
        error.with_param("model").with_code("model_unavailable")
    }

    /// 503: the server is stopping.
    pub(crate) fn shutting_down() -> Self {
        let message = "The server is shutting down.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
            .with_code("shutting_down")
    }

    /// 500: a fault of the server.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The HTTP status of this error.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The field at fault, as a path into the request (`messages[0].content`), if there is one.
    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// The machine-readable code of this error.
    pub(crate) fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// Tokens of a prompt that leaves no room, and what the context has.
    pub(crate) fn context_length(&self) -> Option<(usize, usize)> {
        self.context_length.as_deref().copied()
    }

    /// The same error, about the field that this dialect calls `to` and the server `from`.
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Self {
        if let Some(rest) = self
            .param
            .as_deref()
            .and_then(|param| param.strip_prefix(from))
        {
            self.param = Some(format!("{to}{rest}"));
            self.message = self.message.replace(&format!("`{from}"), &format!("`{to}"));
        }
        self
    }

    /// The same error, about a field that lies inside of `field` in this dialect.
    pub(crate) fn renamed_inside(self, field: &str) -> Self {
        match self.param().map(str::to_owned) {
            Some(param) => self.renamed(&param, &format!("{field}.{param}")),
            None => self,
        }
    }

    /// The JSON that a client of OpenAI's API reads.
    pub(crate) fn body(&self) -> ErrorBody<'_> {
        ErrorBody {
            error: ErrorObject {
                message: &self.message,
                kind: self.kind,
                param: self.param.as_deref(),
                code: self.code,
            },
        }
    }
}

impl From<LlmError> for ApiError {
    fn from(error: LlmError) -> Self {
        let LlmError {
            kind,
            param,
            message,
        } = error;
        let param = param.unwrap_or_default();
        match kind {
            ErrorKind::InvalidRequest => Self::bad_request(message),
            ErrorKind::InvalidValue => Self::invalid(param, message),
            ErrorKind::Unsupported => Self::unsupported(param, message),
            ErrorKind::ContextLengthExceeded {
                prompt_tokens,
                max_model_len,
            } => Self::context_length_exceeded(param, message, prompt_tokens, max_model_len),
            ErrorKind::ModelNotFound => Self::model_not_found(message),
            ErrorKind::Overloaded { retry_after } => Self::overloaded(message, retry_after),
            ErrorKind::Unavailable { retry_after } => Self::model_unavailable(message, retry_after),
            ErrorKind::ShuttingDown => Self::shutting_down(),
            ErrorKind::Internal => Self::internal(message),
        }
    }
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        let message = error.to_string();
        let mut letters = message.chars();
        let first = letters.next().map(char::to_uppercase);
        let sentence: String = first.into_iter().flatten().chain(letters).collect();
        match error {
            HistoryError::NotFound { .. } => Self::not_found("id", format!("{sentence}.")),
            HistoryError::Invalid { field, .. } => Self::invalid(field, format!("{sentence}.")),
            HistoryError::TooMuch { .. } => Self::bad_request(format!("{sentence}.")),
            HistoryError::Full { .. } => Self::storage_full(),
            HistoryError::Locked { .. } => Self::overloaded(
                "The history is in use by another program; try again.",
                Duration::from_secs(1),
            ),
            // Paths of the machine are its owner's affair.
            error => {
                tracing::error!("history: {error}");
                Self::internal("The history cannot be read or written; the server's log says why.")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(delay) = self.retry_after {
            let seconds = delay.as_secs().max(1);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Other dialects put the same error into words of their own.
        response.extensions_mut().insert(self);
        response
    }
}
