//! A model that a request holds in memory.

use std::ops::Deref;
use std::sync::Arc;

use super::inner::Inner;
use super::keep_alive::KeepAlive;
use super::residency::ModelId;
use crate::llm::Llm;

/// A model that stays in memory as long as this, or a clone of it, lives.
#[derive(Clone)]
pub struct Lease {
    llm: Arc<Llm>,
    _held: Arc<Held>,
}

struct Held {
    inner: Arc<Inner>,
    id: ModelId,
    keep_alive: Option<KeepAlive>,
}

impl Lease {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: ModelId,
        llm: Arc<Llm>,
        keep_alive: Option<KeepAlive>,
    ) -> Self {
        Self {
            llm,
            _held: Arc::new(Held {
                inner,
                id,
                keep_alive,
            }),
        }
    }
}

impl Deref for Lease {
    type Target = Llm;

    fn deref(&self) -> &Llm {
        &self.llm
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.release(self.id, self.keep_alive);
    }
}
