//! The process itself: it limits what it may take, then does job after job.

use std::io;
use std::thread;

use crate::frames;

/// By how much others come before a process.
#[cfg(unix)]
const NICE: i32 = 5;

/// What a process may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory, in bytes, the stack not counted. On systems that are no Unix it is not limited.
    pub memory: usize,
    /// The stack that jobs are done on, in bytes.
    pub stack: usize,
    /// Seconds of processor time for a job: a process whose parent was killed while it works must
    /// end too.
    pub seconds: u64,
}

/// Answers jobs by `handle`, until there are no more.
///
/// # Errors
///
/// When a limit cannot be set, or the pipes break.
pub fn serve(
    limits: Limits,
    handle: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
) -> io::Result<()> {
    limit_memory(limits)?;
    let work = move || answer_all(limits, handle);
    let thread = thread::Builder::new()
        .stack_size(limits.stack)
        .spawn(work)?;
    let done = thread.join();
    done.unwrap_or_else(|_| Err(io::Error::other("a job panicked")))
}

fn answer_all(limits: Limits, mut handle: impl FnMut(&[u8]) -> Vec<u8>) -> io::Result<()> {
    let (mut jobs, mut answers) = (io::stdin().lock(), io::stdout().lock());
    while let Some(job) = frames::read(&mut jobs)? {
        limit_time(limits.seconds)?;
        frames::write(&mut answers, &handle(&job))?;
    }
    Ok(())
}

#[cfg(unix)]
fn limit_memory(limits: Limits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};

    let at_most = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, at_most(0))?;
    let memory = limits.memory + limits.stack;
    // Linux counts what may be written to; elsewhere the limit is on addresses, or does nothing.
    setrlimit(Resource::Data, at_most(memory as u64))?;
    // Answers that are being written come first.
    nice(NICE)?;
    Ok(())
}

/// Time is counted from the start of the process, so the limit moves on with each job.
#[cfg(unix)]
fn limit_time(seconds: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    let spent = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    let limit = Rlimit {
        current: Some(u64::try_from(spent).unwrap_or(0) + seconds + 1),
        maximum: None,
    };
    setrlimit(Resource::Cpu, limit)?;
    Ok(())
}

#[cfg(not(unix))]
fn limit_memory(_: Limits) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn limit_time(_: u64) -> io::Result<()> {
    Ok(())
}
