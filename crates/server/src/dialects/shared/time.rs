//! Times as the dialects write them.

use chrono::{DateTime, SecondsFormat};

/// A Unix time, in seconds, by RFC 3339.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}
