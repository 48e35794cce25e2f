//! Whether work is still wanted: its client may have gone, or its time may be up. Work that takes long
//! in many parts asks between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::LlmError;

/// Whether a piece of work is still wanted. Clones are about the same piece.
#[derive(Debug, Clone)]
pub struct Wanted {
    is_given_up: Arc<AtomicBool>,
    until: Option<(Instant, Duration)>,
}

/// Gives the work up when it is dropped.
#[derive(Debug)]
pub struct UntilDropped(Arc<AtomicBool>);

impl Wanted {
    /// However long it takes.
    pub fn always() -> Self {
        Self {
            is_given_up: Arc::default(),
            until: None,
        }
    }

    /// For so long from now.
    pub fn within(limit: Duration) -> Self {
        Self {
            is_given_up: Arc::default(),
            until: Some((Instant::now() + limit, limit)),
        }
    }

    /// As long as the result is not dropped, at most.
    #[must_use]
    pub fn until_dropped(self) -> UntilDropped {
        UntilDropped(self.is_given_up)
    }

    /// Checks that the work is still wanted.
    ///
    /// # Errors
    ///
    /// When its time is up, or when nobody waits for it any more.
    pub fn check(&self) -> Result<(), LlmError> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(LlmError::invalid_request("The request was cancelled."));
        }
        match self.until {
            Some((until, limit)) if Instant::now() > until => {
                let seconds = limit.as_secs();
                Err(LlmError::invalid_request(format!(
                    "The request takes more than {seconds} seconds to prepare: send less of it at a time."
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for UntilDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
