//! Where kernels run: what every kernel that shares its work among threads is given.

use std::sync::Arc;

use crate::dispatch::Isa;
use crate::pool::ThreadPool;

/// Where kernels run: an instruction set and threads. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    isa: Isa,
    pool: Arc<ThreadPool>,
}

impl Context {
    /// A context with its own pool of `threads` threads, the caller included.
    pub fn new(isa: Isa, threads: usize) -> Self {
        Self::sharing(isa, Arc::new(ThreadPool::new(threads)))
    }

    /// A context whose threads others use too. Their loops run one after the other.
    pub fn sharing(isa: Isa, pool: Arc<ThreadPool>) -> Self {
        Self { isa, pool }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads.
    pub fn pool(&self) -> &ThreadPool {
        &self.pool
    }
}
