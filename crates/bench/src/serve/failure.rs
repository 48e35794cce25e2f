//! What goes wrong with a request, by name.

use reqwest::Response;
use serde_json::Value;

use crate::report::RequestError;

/// Characters of a server's message that are kept.
const MAX_MESSAGE: usize = 300;

/// What a server says that refuses.
pub(super) async fn status_error(response: Response) -> RequestError {
    let kind = format!("http {}", response.status().as_u16());
    let text = response.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let message = value["error"]["message"]
        .as_str()
        .or(value["error"].as_str());
    failed(&kind, message.unwrap_or(&text))
}

/// What went wrong on the way.
pub(super) fn transport(error: &reqwest::Error) -> RequestError {
    let kind = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "unreachable"
    } else {
        "connection lost"
    };
    failed(kind, &root_cause(error))
}

/// What is below an error's own words, which only say that there was one.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

/// A failure of this kind, and its message as far as anybody reads on.
pub(super) fn failed(kind: &str, message: &str) -> RequestError {
    RequestError {
        kind: kind.to_owned(),
        message: message.chars().take(MAX_MESSAGE).collect(),
    }
}
