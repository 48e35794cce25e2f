//! What browsers kept the page from doing, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a page tried what it may not do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Violations(Arc<AtomicU64>);

impl Violations {
    /// Counts a report.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
