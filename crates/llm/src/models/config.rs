//! What is told about models from outside.

use super::adapters::AdapterConfig;
use super::keep_alive::KeepAlive;
use super::shares::Needs;
use super::source::Inspected;

/// How models are held together.
#[derive(Debug, Clone)]
pub struct ModelsOptions {
    /// Bytes that all models together may take.
    pub memory: u64,
    /// Which part of what weights leave keys and values may have.
    pub kv_cache_part: f64,
    /// Requests that name a model that is not there get the first.
    pub any_name: bool,
    /// Requests of one client that may wait for one model.
    pub max_queue_len: usize,
}

/// A model, and how it is to be kept.
pub struct ModelConfig {
    /// Its header.
    pub inspected: Inspected,
    /// It stays in memory once it is there.
    pub pinned: bool,
    /// How long it stays that nobody uses.
    pub keep_alive: KeepAlive,
    /// What it is served with, beside itself.
    pub adapters: Vec<AdapterConfig>,
}

impl ModelConfig {
    /// Memory that its adapters take at most, in bytes.
    pub(super) fn adapter_bytes(&self) -> u64 {
        self.adapters.iter().map(AdapterConfig::memory_bytes).sum()
    }

    /// What it needs, its adapters included.
    pub(super) fn needs(&self) -> Needs {
        let needs = self.inspected.needs();
        Needs {
            fixed: needs.fixed.saturating_add(self.adapter_bytes()),
            ..needs
        }
    }
}
