//! Checks that the fields of all dialects share.

use std::io;

use serde::Serialize;

use crate::error::ApiError;

/// Most stop strings; OpenAI allows 4, other servers more.
const MAX_STOP_STRINGS: usize = 64;
/// Longest stop string, in bytes: each is looked for at every token of every answer.
const MAX_STOP_STRING: usize = 1024;
/// Most token ids of a list that is not a prompt, where it is not bounded by the vocabulary.
pub(crate) const MAX_TOKEN_IDS: usize = 1024;
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
    no_longer_than(param, &stop, MAX_STOP_STRING)?;
    Ok(stop)
}

/// Checks that none of the strings that came as `param` is longer than so many bytes.
pub(crate) fn no_longer_than(param: &str, strings: &[String], most: usize) -> Result<(), ApiError> {
    let too_long = strings.iter().position(|string| string.len() > most);
    too_long.map_or(Ok(()), |i| {
        let param = format!("{param}[{i}]");
        let length = strings[i].len();
        let message = format!("`{param}` may have at most {most} bytes, got {length}.");
        Err(ApiError::invalid(param, message))
    })
}

/// Checks that the list that came as `param` has no more than so many entries.
pub(crate) fn no_more_than<T>(param: &str, list: &[T], most: usize) -> Result<(), ApiError> {
    if list.len() <= most {
        return Ok(());
    }
    let message = format!(
        "`{param}` may have at most {most} entries, got {}.",
        list.len()
    );
    Err(ApiError::invalid(param, message))
}

/// Checks that the value that came as `param` is no longer than so many bytes of JSON.
pub(crate) fn json_no_longer_than(
    param: &str,
    value: &impl Serialize,
    most: usize,
) -> Result<(), ApiError> {
    let fits = serde_json::to_writer(Room(most), value).is_ok();
    let message = || format!("`{param}` may have at most {most} bytes of JSON.");
    fits.then_some(())
        .ok_or_else(|| ApiError::invalid(param, message()))
}

/// Takes so many bytes, and no more.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
