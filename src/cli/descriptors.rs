//! File descriptors: how many connections the system lets the server have.

use tracing::warn;

/// Descriptors that are not connections: the model's files, standard streams, the runtime's own,
/// pipes of worker processes.
const RESERVED: u64 = 64;

/// As many of `wanted` connections as the system allows. The limit that it starts programs with, often
/// 1024, is raised to what they may raise it to, so that it is seldom the one that holds.
pub(super) fn allowing(wanted: usize) -> usize {
    let Some(limit) = raised() else {
        return wanted;
    };
    let room = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    if room < wanted {
        warn!(
            "the system allows {limit} open files: --max-connections is {} now",
            room.max(1)
        );
    }
    wanted.min(room.max(1))
}

/// The limit, as high as this program may set it; `None` if there is none.
#[cfg(unix)]
fn raised() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => maximum,
        // As on macOS, where the maximum is no number that can be set.
        Err(_) => current,
    }
}

#[cfg(not(unix))]
fn raised() -> Option<u64> {
    None
}
