//! What is started, and what becomes of a job that has no answer.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A program whose processes do work that is handed to them: one that calls
/// [`serve`](crate::serve).
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Why a job has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// It took too long, and was stopped.
    #[error("it took longer than {} seconds", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Its process ended: it took too much memory or stack, or crashed.
    #[error("it took more memory than it may, or crashed")]
    Died,
    /// No place became free in time.
    #[error("too much such work is being done")]
    Busy,
    /// There are no processes to be had.
    #[error("no worker process can be started: {0}")]
    Unavailable(String),
}
