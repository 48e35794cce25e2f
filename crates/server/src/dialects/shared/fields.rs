//! Checks that the fields of all dialects share.

use crate::error::ApiError;

/// Most stop strings; OpenAI allows 4, other servers more.
const MAX_STOP_STRINGS: usize = 64;
/// Most alternatives beside a log-probability, as at OpenAI.
pub(crate) const MAX_TOP_LOGPROBS: i64 = 20;

/// The strings that end an answer, which came as `param`.
pub(crate) fn stop_strings(param: &str, stop: Vec<String>) -> Result<Vec<String>, ApiError> {
    if stop.len() > MAX_STOP_STRINGS {
        let message = format!(
            "`{param}` may have at most {MAX_STOP_STRINGS} strings, got {}.",
            stop.len()
        );
        return Err(ApiError::invalid(param, message));
    }
    if stop.iter().any(String::is_empty) {
        let message = format!("`{param}` must not contain an empty string.");
        return Err(ApiError::invalid(param, message));
    }
    Ok(stop)
}

/// The field `field` of the object at `param`, which has to be there.
pub(crate) fn required<T>(value: Option<T>, param: &str, field: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| missing(&format!("{param}.{field}")))
}

pub(crate) fn missing(param: &str) -> ApiError {
    ApiError::invalid(param, format!("`{param}` is missing."))
}

/// How many of the likeliest tokens to report beside each, where `logprobs` turns it on.
pub(crate) fn logprobs(
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
) -> Result<Option<usize>, ApiError> {
    let top = in_range("top_logprobs", top_logprobs, 0, MAX_TOP_LOGPROBS)?;
    match (logprobs.unwrap_or(false), top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as usize)),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            let message = "`top_logprobs` is only allowed when `logprobs` is true.";
            Err(ApiError::invalid("top_logprobs", message))
        }
    }
}

pub(crate) fn token_ids(param: &str, ids: Option<&[i64]>) -> Result<Option<Vec<u32>>, ApiError> {
    let id = |(i, &id): (usize, &i64)| {
        u32::try_from(id).map_err(|_| {
            ApiError::invalid(
                format!("{param}[{i}]"),
                format!("`{param}` must hold token ids, got {id}."),
            )
        })
    };
    ids.map(|ids| ids.iter().enumerate().map(id).collect())
        .transpose()
}

pub(crate) fn in_range(
    param: &str,
    value: Option<i64>,
    low: i64,
    high: i64,
) -> Result<Option<i64>, ApiError> {
    match value {
        Some(given) if given < low => Err(ApiError::invalid(
            param,
            format!("`{param}` must be at least {low}, got {given}."),
        )),
        Some(given) if given > high => Err(ApiError::invalid(
            param,
            format!("`{param}` must be at most {high}, got {given}."),
        )),
        fine => Ok(fine),
    }
}

pub(crate) fn count(param: &str, value: Option<i64>) -> Result<Option<usize>, ApiError> {
    Ok(in_range(param, value, 0, i64::MAX)?.map(|value| value as usize))
}

pub(crate) fn real(
    param: &str,
    value: Option<f64>,
    low: f64,
    high: f64,
) -> Result<Option<f64>, ApiError> {
    match value {
        Some(given) if !(low..=high).contains(&given) => Err(ApiError::invalid(
            param,
            format!("`{param}` must be between {low} and {high}, got {given}."),
        )),
        fine => Ok(fine),
    }
}
