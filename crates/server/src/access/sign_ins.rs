//! Browsers that have shown a key: each has a token in a cookie, of which only the digest is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use matou_history::{History, HistoryError};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long a browser stays signed in.
pub(crate) const SIGN_IN_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The browsers that are signed in. They are kept in the history's file, so that they outlive the server,
/// and here, so that no request waits for a disk.
#[derive(Clone)]
pub(crate) struct SignIns {
    known: Arc<RwLock<HashMap<[u8; 32], SignIn>>>,
    /// Held while the file and what is here change together.
    changes: Arc<Mutex<()>>,
    history: History,
}

#[derive(Debug, Clone, Copy)]
struct SignIn {
    /// SHA-256 of the key that was shown.
    key: [u8; 32],
    /// Unix time, in seconds.
    since: u64,
}

impl SignIns {
    /// Those that `history` has.
    pub(crate) fn of(history: History) -> Self {
        let known = read(&history).unwrap_or_else(|error| {
            tracing::warn!("browsers have to sign in again: {error}");
            HashMap::new()
        });
        Self {
            known: Arc::new(RwLock::new(known)),
            changes: Arc::default(),
            history,
        }
    }

    /// Signs a browser in with the key that has this digest; `now` is Unix time in seconds. Gives its
    /// token. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    pub(crate) fn add(&self, key: [u8; 32], now: u64) -> Result<String, HistoryError> {
        let token = random_token();
        let digest = digest_of(&token);
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.history
            .remove_sign_ins_before(now.saturating_sub(SIGN_IN_LIFE.as_secs()))?;
        self.history.add_sign_in(&digest, &key, now)?;
        // Who has to go for it is decided there.
        let kept = read(&self.history)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(token)
    }

    /// The digest of the key with which the browser that has this token is signed in.
    pub(crate) fn key(&self, token: &str, now: u64) -> Option<[u8; 32]> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // By its digest: how long it takes tells nothing that helps to find a token.
        let sign_in = known.get(&digest_of(token))?;
        sign_in.is_good(now).then_some(sign_in.key)
    }

    /// Signs a browser out. Blocks.
    ///
    /// # Errors
    ///
    /// When it would be signed in again after a start of the server.
    pub(crate) fn remove(&self, token: &str) -> Result<(), HistoryError> {
        let digest = digest_of(token);
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(&digest);
        drop(known);
        self.history.remove_sign_in(&digest).map(|_| ())
    }
}

fn read(history: &History) -> Result<HashMap<[u8; 32], SignIn>, HistoryError> {
    let kept = history.sign_ins()?.into_iter().map(|kept| {
        let sign_in = SignIn {
            key: kept.key_digest,
            since: kept.created_at,
        };
        (kept.token_hash, sign_in)
    });
    Ok(kept.collect())
}

impl SignIn {
    fn is_good(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < SIGN_IN_LIFE.as_secs()
    }
}

/// 244 random bits, in letters that a cookie and an address take.
pub(super) fn random_token() -> String {
    let mut bytes = Uuid::new_v4().as_bytes().to_vec();
    bytes.extend(Uuid::new_v4().as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn digest_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use matou_history::SIGN_INS_OF_KEY;

    use super::*;

    #[test]
    fn who_signs_in_often_signs_nobody_else_out() {
        let sign_ins = SignIns::of(History::in_memory().unwrap());
        let (other, first) = (
            sign_ins.add([1; 32], 1).unwrap(),
            sign_ins.add([2; 32], 2).unwrap(),
        );
        for now in 0..SIGN_INS_OF_KEY {
            sign_ins.add([2; 32], 3 + now).unwrap();
        }
        assert_eq!(sign_ins.key(&other, 500), Some([1; 32]));
        assert_eq!(sign_ins.key(&first, 500), None);
        let life = SIGN_IN_LIFE.as_secs();
        assert_eq!(sign_ins.key(&other, 1 + life), None, "a year later");
    }
}
