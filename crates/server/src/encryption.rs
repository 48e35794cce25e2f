//! How connections are encrypted: what can change while a server runs, as certificates do.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::ServerConfig;

/// How connections are encrypted. Clones are the same: what one takes over, all have.
#[derive(Debug, Clone)]
pub struct Encryption(Arc<RwLock<Arc<ServerConfig>>>);

impl Encryption {
    /// With this certificate.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// Has connections that come from now on encrypted as `other` has it.
    pub fn take_over(&self, other: &Self) {
        let config = other.config();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config)
    }
}
