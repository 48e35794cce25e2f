//! What time it is.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time, in seconds.
pub(crate) fn unix_time(clock: fn() -> SystemTime) -> u64 {
    let since = clock().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
