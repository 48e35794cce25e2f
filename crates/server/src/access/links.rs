//! Links that sign a browser in once: to take a telephone along without typing a key.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sign_ins::{digest_of, random_token};

/// How long a link is good for.
pub(crate) const LINK_LIFE: Duration = Duration::from_secs(10 * 60);
/// Most links of one key that are good at a time; the oldest go.
const MAX_OWN: usize = 10;
/// The same of all keys.
const MAX_LINKS: usize = 1000;

/// The links that were given out and not used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links(Arc<Mutex<Vec<Link>>>);

#[derive(Debug)]
struct Link {
    /// SHA-256 of its token.
    token: [u8; 32],
    /// SHA-256 of the key that it signs in with.
    key: [u8; 32],
    until: Instant,
}

impl Links {
    /// A token that signs in with a key, once.
    pub(crate) fn give(&self, key: [u8; 32], now: Instant) -> String {
        let token = random_token();
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > now);
        let own = links.iter().filter(|link| link.key == key).count();
        let oldest_own = links.iter().position(|link| link.key == key);
        if own >= MAX_OWN {
            oldest_own.map(|oldest| links.remove(oldest));
        } else if links.len() >= MAX_LINKS {
            links.remove(0);
        }
        links.push(Link {
            token: digest_of(&token),
            key,
            until: now + LINK_LIFE,
        });
        token
    }

    /// The digest of the key that a token signs in with. It is good for nothing from then on.
    pub(crate) fn take(&self, token: &str, now: Instant) -> Option<[u8; 32]> {
        let token = digest_of(token);
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > now);
        // By their digests: how long it takes tells nothing that helps to find a token.
        let place = links.iter().position(|link| link.token == token)?;
        Some(links.remove(place).key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_once_and_for_a_while() {
        let (links, now) = (Links::default(), Instant::now());
        let (one, other) = (links.give([1; 32], now), links.give([2; 32], now));
        assert_eq!(links.take("made up", now), None);
        assert_eq!(links.take(&one, now), Some([1; 32]));
        assert_eq!(links.take(&one, now), None, "used");
        assert_eq!(links.take(&other, now + LINK_LIFE), None, "too late");
        let first = links.give([3; 32], now);
        for _ in 0..MAX_LINKS {
            links.give([4; 32], now);
        }
        assert_eq!(links.0.lock().unwrap().len(), 1 + MAX_OWN);
        let of_other = links.take(&first, now);
        assert_eq!(of_other, Some([3; 32]), "who makes many loses own ones");
    }
}
