//! One pool of threads for every parallel loop of a forward pass.
//!
//! A decode step is hundreds of loops of 10 µs to 1 ms each, so starting one must cost next to
//! nothing: the calling thread works too, tasks are claimed from one atomic counter (a thread whose
//! core was taken away for a moment just claims fewer), and a worker that runs dry spins for
//! [`SPIN`] before it parks, which bridges the serial code between two loops. A pool without work
//! uses no CPU time.
//!
//! ```text
//!   caller   publish job, unclaimed = tasks ──► claim, run, claim, run … ──► wait for unfinished = 0
//!   worker   spin or park until unclaimed > 0 ─► claim, run, claim, run … ──► spin, then park
//! ```
//!
//! Why it is sound: a thread reads the job only after it claimed one of its tasks (took `unclaimed`
//! from above zero one lower). The job is replaced only after all its tasks have finished, the
//! claimed one among them; so what was read is the job that the task belongs to, and it is alive.
//! A worker that arrives late finds nothing to claim and touches nothing.
#![allow(unsafe_code)] // lends a borrowed closure to threads that outlive the borrow

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker without work spins before it parks: longer than the serial code between two
/// loops of a forward pass, shorter than anybody notices.
pub(crate) const SPIN: Duration = Duration::from_micros(50);

type Work<'a> = dyn Fn(usize) + Sync + 'a;

thread_local! {
    /// Whether this thread is running a task, of whichever pool.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// A fixed set of threads that share loops.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the thread whose loop is running.
    turn: Mutex<()>,
}

struct Job {
    /// The borrow is over when [`ThreadPool::run`] returns.
    work: *const Work<'static>,
    tasks: usize,
}

struct Shared {
    job: UnsafeCell<Option<Job>>,
    /// Tasks of the job that no thread has taken yet.
    unclaimed: AtomicUsize,
    /// Tasks of the job that have not returned yet.
    unfinished: AtomicUsize,
    /// The first panic of the job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    shutdown: AtomicBool,
    /// Workers that are parked or about to be; changed under `parking`.
    parked: AtomicUsize,
    parking: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written by the one thread that holds `turn` while no task is unclaimed or
// unfinished, and read only by threads that hold a claimed task (see the module).
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure, and is followed only during `run`.
unsafe impl Send for Shared {}

impl ThreadPool {
    /// A pool of `threads` threads, the caller of [`run`](Self::run) being one of them. Where the
    /// system refuses to start that many, the pool has those that it did start.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            unclaimed: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::new(None),
            shutdown: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            parking: Mutex::new(()),
            wake: Condvar::new(),
        });
        let workers = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("matou-compute-{index}"))
                    .spawn(move || shared.serve())
                    .ok()
            })
            .collect();
        Self {
            shared,
            workers,
            turn: Mutex::new(()),
        }
    }

    /// How many threads share a loop, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work(task)` once for each task in `0..tasks`, on all threads, and returns when all have
    /// returned. Tasks start in ascending order. Within a task, `run` is an ordinary loop.
    ///
    /// A panic in a task is raised again here (the first of them, if several); whether tasks that had
    /// not started by then still run is unspecified. The pool survives it.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() || IN_TASK.get() {
            (0..tasks).for_each(work);
            return;
        }
        let turn = lock(&self.turn);
        self.shared.publish(tasks, work);
        IN_TASK.set(true);
        self.shared.run_tasks();
        IN_TASK.set(false);
        self.shared.wait_until_finished();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.wake_parked();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of tasks, so it ends by returning.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Makes a job claimable. The caller holds `turn`, and no other job is running.
    fn publish(&self, tasks: usize, work: &Work<'_>) {
        // SAFETY: only the lifetime changes. `run` does not return before every task has finished,
        // and the pointer is followed only for a claimed, unfinished task.
        let work = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        // SAFETY: nothing is unclaimed or unfinished, so nobody reads the job.
        unsafe { *self.job.get() = Some(Job { work, tasks }) };
        self.unfinished.store(tasks, Ordering::Relaxed);
        // In this order against `park`: either we see the worker parked, or it sees our tasks.
        self.unclaimed.store(tasks, Ordering::SeqCst);
        self.wake_parked();
    }

    fn wake_parked(&self) {
        if self.parked.load(Ordering::SeqCst) > 0 {
            let _guard = lock(&self.parking);
            self.wake.notify_all();
        }
    }

    /// Claims and runs tasks until none is left to claim.
    fn run_tasks(&self) {
        let mut finished = 0;
        while let Some(left) = self.claim() {
            // SAFETY: we hold a claimed task of the job (see the module).
            let (work, task) = unsafe {
                let job = (*self.job.get())
                    .as_ref()
                    .expect("a claimed task has a job");
                (&*job.work, job.tasks - left)
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work(task))) {
                lock(&self.panic).get_or_insert(payload);
            }
            finished += 1;
        }
        if finished > 0 {
            // After this line the job may be gone.
            self.unfinished.fetch_sub(finished, Ordering::Release);
        }
    }

    /// Takes a task; returns how many were unclaimed before.
    fn claim(&self) -> Option<usize> {
        self.unclaimed
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .ok()
    }

    fn wait_until_finished(&self) {
        let mut spins = 0u32;
        while self.unfinished.load(Ordering::Acquire) > 0 {
            // Tasks end at about the same time, unless a worker lost its core: perhaps to us.
            if spins < 1 << 10 {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// The life of a worker.
    fn serve(&self) {
        IN_TASK.set(true);
        while !self.shutdown.load(Ordering::Relaxed) {
            self.run_tasks();
            if !self.spin() {
                self.park();
            }
        }
    }

    fn has_news(&self) -> bool {
        self.unclaimed.load(Ordering::SeqCst) > 0 || self.shutdown.load(Ordering::SeqCst)
    }

    /// Waits for [`SPIN`] at most; says whether there is something to do.
    fn spin(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..32 {
                if self.has_news() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }

    fn park(&self) {
        let mut guard = lock(&self.parking);
        self.parked.fetch_add(1, Ordering::SeqCst);
        while !self.has_news() {
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Locks; no mutex here guards data that a panic could leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counters(len: usize) -> Vec<AtomicU32> {
        (0..len).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn every_task_runs_exactly_once_over_many_short_jobs() {
        for threads in [1, 2, 3, 5] {
            let pool = ThreadPool::new(threads);
            for round in 0..3000 {
                let tasks = round % 17;
                let counts = counters(tasks);
                pool.run(tasks, &|task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    counts
                        .iter()
                        .all(|count| count.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn parked_workers_wake_for_the_next_job() {
        let pool = ThreadPool::new(3);
        for pause in [0, 20, 49, 50, 51, 80, 200, 1000] {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_micros(pause));
                // Two tasks that need each other: the job ends only if a second thread comes.
                let arrived = AtomicU32::new(0);
                pool.run(2, &|_| {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < 2 {
                        std::thread::yield_now();
                    }
                });
            }
        }
    }

    #[test]
    fn jobs_of_several_callers_do_not_mix() {
        let pool = ThreadPool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let counts = counters(9);
                        pool.run(9, &|task| {
                            counts[task].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(
                            counts
                                .iter()
                                .all(|count| count.load(Ordering::Relaxed) == 1)
                        );
                    }
                });
            }
        });
    }

    #[test]
    fn a_nested_run_is_an_ordinary_loop() {
        let pool = ThreadPool::new(2);
        let counts = counters(8 * 8);
        pool.run(8, &|outer| {
            let thread = std::thread::current().id();
            pool.run(8, &|inner| {
                assert_eq!(std::thread::current().id(), thread);
                counts[outer * 8 + inner].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1)
        );
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = ThreadPool::new(2);
        for bad in 0..20 {
            let counts = counters(20);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(20, &|task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                    if task == bad {
                        // Not `panic!`, which would print twenty backtraces.
                        resume_unwind(Box::new(task));
                    }
                });
            }));
            let payload = result.unwrap_err();
            assert_eq!(payload.downcast_ref::<usize>(), Some(&bad));
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
        }
        let ran = AtomicU32::new(0);
        pool.run(4, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 4);
    }

    #[test]
    fn a_pool_asked_for_no_threads_has_its_caller() {
        assert_eq!(ThreadPool::new(0).threads(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_idle_pool_uses_no_cpu_time() {
        let pool = ThreadPool::new(3);
        // Workers tell their thread ids; the kernel's accounting of those threads tells the rest.
        let ids = Mutex::new(std::collections::BTreeSet::new());
        while ids.lock().unwrap().len() < 3 {
            pool.run(3, &|_| {
                // SAFETY: no arguments, cannot fail.
                ids.lock().unwrap().insert(unsafe { libc::gettid() });
                std::thread::sleep(Duration::from_micros(200));
            });
        }
        let ticks = || -> u64 {
            let mut sum = 0;
            for id in ids.lock().unwrap().iter() {
                let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat"));
                let stat = stat.unwrap_or_default();
                sum += stat.split(' ').next().unwrap().parse().unwrap_or(0);
            }
            sum
        };
        std::thread::sleep(Duration::from_millis(20));
        let before = ticks();
        std::thread::sleep(Duration::from_millis(100));
        let nanoseconds = ticks() - before;
        assert!(
            nanoseconds < 1_000_000,
            "{nanoseconds} ns of CPU time while idle"
        );
    }
}
