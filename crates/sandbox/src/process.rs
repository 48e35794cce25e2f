//! A process at work, as its parent sees it.

use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::frames;
use crate::program::{Program, SandboxError};

/// A process that waits for a job. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    jobs: ChildStdin,
    /// What a thread reads from the process, which a deadline could not be set for.
    answers: Receiver<Vec<u8>>,
}

impl Worker {
    pub(crate) fn start(program: &Program) -> Result<Self, SandboxError> {
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            // One heap, so that the limit on memory is that of what is used.
            .env("MALLOC_ARENA_MAX", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| SandboxError::Unavailable(error.to_string()))?;
        let (Some(jobs), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SandboxError::Unavailable("it has no pipes".to_owned()));
        };
        let (sender, answers) = channel();
        let reader = std::thread::Builder::new().name("sandbox-reader".to_owned());
        let read = move || {
            while let Ok(Some(answer)) = frames::read(&mut output) {
                if sender.send(answer).is_err() {
                    return;
                }
            }
        };
        let worker = Self {
            child,
            jobs,
            answers,
        };
        // If there is no thread, the worker is dropped and with it killed.
        let thread = reader.spawn(read);
        thread.map_err(|error| SandboxError::Unavailable(error.to_string()))?;
        Ok(worker)
    }

    /// The answer to a job. After an error the process is of no more use.
    pub(crate) fn ask(&mut self, job: &[u8], limit: Duration) -> Result<Vec<u8>, SandboxError> {
        if frames::write(&mut self.jobs, job).is_err() {
            return Err(SandboxError::Died);
        }
        self.answers
            .recv_timeout(limit)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => SandboxError::TimedOut(limit),
                RecvTimeoutError::Disconnected => SandboxError::Died,
            })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
