//! Errors in Anthropic's shape.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::error::ApiError;

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`.
pub(crate) fn error_body(error: &ApiError, request_id: Option<&str>) -> Value {
    let kind = match error.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    // Clients look for these words to know that they have to shorten the conversation.
    let message = match error.context_length() {
        Some((prompt, max)) => format!("prompt is too long: {prompt} tokens > {max} maximum"),
        None => error.to_string(),
    };
    let mut body = json!({
        "type": "error",
        "error": {"type": kind, "message": message},
    });
    if let Some(id) = request_id {
        body["request_id"] = id.into();
    }
    body
}
