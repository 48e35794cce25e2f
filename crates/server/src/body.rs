//! Reading a request's body.
//!
//! The body is JSON whatever its `Content-Type` says: `curl -d` without a header sends a form's
//! type, and refusing it would help nobody. Reading is split from parsing: bytes arrive on an async
//! worker, while parsing a body of megabytes belongs with the other computing
//! ([`AppState::compute`](crate::AppState::compute)).

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tower_http::timeout::TimeoutError;

use crate::error::ApiError;
use crate::state::SharedState;

/// The bytes of a request that should be JSON.
#[derive(Debug, Clone)]
pub struct JsonBody(pub Bytes);

impl FromRequest<SharedState> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => {
                if is_timeout(&rejection) {
                    return Err(ApiError::request_timeout(state.limits.body_timeout));
                }
                let message = rejection.body_text();
                match rejection.into_response().status() {
                    StatusCode::PAYLOAD_TOO_LARGE => {
                        Err(ApiError::payload_too_large(state.limits.max_body_bytes))
                    }
                    _ => Err(ApiError::bad_request(format!(
                        "The request body could not be read: {message}"
                    ))),
                }
            }
        }
    }
}

impl JsonBody {
    /// Parses the body. A request whose fields are shared between endpoints is parsed once per
    /// group of fields: unknown fields are skipped, and errors keep the path that
    /// `#[serde(flatten)]` would lose.
    ///
    /// # Errors
    ///
    /// What is wrong and where: line and column if this is not JSON, the path of the field if its
    /// type is wrong.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // A list would be taken for the fields in their order.
        if self.0.trim_ascii_start().first() == Some(&b'[') {
            return Err(ApiError::bad_request(
                "Invalid request: expected a JSON object, got a list.",
            ));
        }
        let mut json = serde_json::Deserializer::from_slice(&self.0);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            explain(&path, error.inner())
        })?;
        json.end().map_err(|error| explain(".", &error))?;
        Ok(value)
    }
}

/// Whether the body could not be read because nothing came.
fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutError>() || error.source().is_some_and(is_timeout)
}

fn explain(path: &str, error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data if path != "." => ApiError::wrong_type(
            path,
            format!("Invalid value for `{path}`: {}.", without_position(error)),
        ),
        Category::Data => {
            ApiError::bad_request(format!("Invalid request: {}.", without_position(error)))
        }
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::bad_request(format!("The request body is not valid JSON: {error}."))
        }
    }
}

/// serde_json closes its messages with ` at line 1 column 27`, which says less than the path that
/// we give.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message
        .strip_suffix(&position)
        .unwrap_or(&message)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[serde(rename = "count")]
        _count: Option<i64>,
    }

    fn error(body: &'static str) -> ApiError {
        JsonBody(Bytes::from_static(body.as_bytes()))
            .parse::<Outer>()
            .expect_err("the body is wrong")
    }

    #[test]
    fn a_wrong_type_names_the_path_of_its_field() {
        let error = error(r#"{"inner": [{"count": 1}, {"count": "two"}]}"#);
        assert_eq!(error.param(), Some("inner[1].count"));
        assert_eq!(
            error.to_string(),
            "Invalid value for `inner[1].count`: invalid type: string \"two\", expected i64."
        );
    }

    #[test]
    fn broken_json_says_where_it_breaks() {
        let error = error("{\"inner\": [,]}");
        assert_eq!(error.param(), None);
        assert!(error.to_string().contains("line 1 column 12"), "{error}");
    }

    #[test]
    fn what_follows_the_json_is_an_error() {
        assert!(
            error(r#"{"inner": []} x"#)
                .to_string()
                .contains("trailing characters")
        );
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let deep = Bytes::from(format!("{{\"unknown\": {}", "[".repeat(100_000)));
        assert!(JsonBody(deep).parse::<Outer>().is_err());
    }
}
