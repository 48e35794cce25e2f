//! An adapter in memory.

use std::sync::atomic::{AtomicU64, Ordering};

use super::linear::LinearAdapter;

/// An adapter in memory, for one model. Requests that have it hold it: it goes with the last of them.
pub struct Adapter {
    id: u64,
    /// The [`AdapterTargets`](super::AdapterTargets) that it was loaded for.
    pub(super) model: u64,
    /// By the number of the linear layer.
    linears: Vec<Option<LinearAdapter>>,
    bytes: u64,
    rank: usize,
}

impl Adapter {
    pub(super) fn new(model: u64, linears: Vec<Option<LinearAdapter>>, rank: usize) -> Self {
        let bytes = linears.iter().flatten().map(LinearAdapter::bytes).sum();
        Self {
            id: next_id(),
            model,
            linears,
            bytes,
            rank,
        }
    }

    /// A number that no other adapter of this process has or had: keys and values computed with it are
    /// told apart by this.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its largest rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// What it does to linear layer `number`.
    pub(super) fn linear(&self, number: usize) -> Option<&LinearAdapter> {
        self.linears.get(number)?.as_ref()
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter")
            .field("id", &self.id)
            .field("rank", &self.rank)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The same adapter, not one that is like it.
impl PartialEq for Adapter {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Adapter {}

/// A number that was not given before.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
