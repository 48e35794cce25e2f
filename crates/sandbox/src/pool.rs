//! The processes of a program, and the places for their work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::process::Worker;
use crate::program::{Program, SandboxError};

/// How much work was done, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    jobs: AtomicU64,
    timed_out: AtomicU64,
    died: AtomicU64,
}

impl Counters {
    /// Jobs that were handed to a process.
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Those that were stopped because they took too long.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Those whose process ended on the way.
    pub fn died(&self) -> u64 {
        self.died.load(Ordering::Relaxed)
    }
}

/// A few processes of one program, started as they are needed.
#[derive(Debug)]
pub struct Sandbox {
    program: Program,
    /// What each process is told first.
    setup: Vec<u8>,
    time_limit: Duration,
    places: Mutex<Places>,
    freed: Condvar,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Places {
    free: usize,
    idle: Vec<Worker>,
}

/// A place to work in; given back on drop.
struct Place<'a>(&'a Sandbox);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.freed.notify_one();
    }
}

impl Sandbox {
    /// At most `processes` of `program`, each told `setup` when it begins, with so much time for a job.
    pub fn new(
        program: Program,
        setup: Vec<u8>,
        processes: usize,
        time_limit: Duration,
        counters: Arc<Counters>,
    ) -> Self {
        let places = Places {
            free: processes.max(1),
            idle: Vec::new(),
        };
        Self {
            program,
            setup,
            time_limit,
            places: Mutex::new(places),
            freed: Condvar::new(),
            counters,
        }
    }

    /// Has a job done and waits for the answer: not for an async worker.
    ///
    /// # Errors
    ///
    /// When it takes too long or too much, and when there is no process for it.
    pub fn run(&self, job: &[u8]) -> Result<Vec<u8>, SandboxError> {
        let _place = self.place()?;
        self.counters.jobs.fetch_add(1, Ordering::Relaxed);
        let idle = self.lock().idle.pop();
        let answer = match idle {
            // One that ended while it had nothing to do, as when the system is short of memory, is no
            // fault of this job.
            Some(mut worker) => match worker.ask(job, self.time_limit) {
                Err(SandboxError::Died) => self.run_anew(job),
                answer => answer.map(|answer| (answer, worker)),
            },
            None => self.run_anew(job),
        };
        match answer {
            Ok((answer, worker)) => {
                self.lock().idle.push(worker);
                Ok(answer)
            }
            Err(error) => {
                self.count(&error);
                debug!(%error, "a job was stopped");
                Err(error)
            }
        }
    }

    /// What a process answers to its setup: it is started now if there is none.
    ///
    /// # Errors
    ///
    /// As of [`Sandbox::run`].
    pub fn set_up(&self) -> Result<Vec<u8>, SandboxError> {
        let _place = self.place()?;
        let (worker, answer) = self.start().inspect_err(|error| self.count(error))?;
        self.lock().idle.push(worker);
        Ok(answer)
    }

    fn run_anew(&self, job: &[u8]) -> Result<(Vec<u8>, Worker), SandboxError> {
        let (mut worker, _) = self.start()?;
        let answer = worker.ask(job, self.time_limit)?;
        Ok((answer, worker))
    }

    fn start(&self) -> Result<(Worker, Vec<u8>), SandboxError> {
        let mut worker = Worker::start(&self.program)?;
        let answer = worker.ask(&self.setup, self.time_limit)?;
        Ok((worker, answer))
    }

    fn place(&self) -> Result<Place<'_>, SandboxError> {
        let until = Instant::now() + self.time_limit;
        let mut places = self.lock();
        while places.free == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SandboxError::Busy);
            }
            let waited = self.freed.wait_timeout(places, left);
            (places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        places.free -= 1;
        Ok(Place(self))
    }

    fn count(&self, error: &SandboxError) {
        let counter = match error {
            SandboxError::TimedOut(_) => &self.counters.timed_out,
            SandboxError::Died => &self.counters.died,
            SandboxError::Busy | SandboxError::Unavailable(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
