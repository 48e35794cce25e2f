//! Keys that clients must show, as their digests.

use std::fmt;

use matou_engine::ClientId;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Keys shorter than this can be found by trying, as far as the server lets somebody try.
const GUESSABLE: usize = 16;

/// Keys that clients must show. Only their digests are kept, each with the number of its client.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Vec<Known>,
    /// Clients that there are or were.
    numbered: u32,
}

/// A key that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its SHA-256.
    pub(crate) digest: [u8; 32],
    /// Whose it is.
    pub(crate) client: ClientId,
    /// Whether it is so short that it can be guessed.
    pub(crate) is_short: bool,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} keys", self.keys.len())
    }
}

impl<S: AsRef<str>> FromIterator<S> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = S>>(keys: I) -> Self {
        let keys = keys.into_iter().map(|key| {
            let key = key.as_ref();
            (digest(key), key.len() < GUESSABLE)
        });
        Self::numbered_after(keys, &Self::default())
    }
}

impl ApiKeys {
    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// These keys in the place of others: one that was known stays the same client's, and the number of
    /// one that is gone is nobody's again.
    pub(crate) fn after(&self, before: &Self) -> Self {
        let keys = self.keys.iter().map(|known| (known.digest, known.is_short));
        Self::numbered_after(keys, before)
    }

    fn numbered_after(digests: impl Iterator<Item = ([u8; 32], bool)>, before: &Self) -> Self {
        let mut numbered = before.numbered;
        let mut keys: Vec<Known> = Vec::new();
        for (digest, is_short) in digests {
            let mut known = keys.iter().chain(&before.keys);
            let client = match known.find(|known| known.digest == digest) {
                Some(known) => known.client,
                None => {
                    numbered += 1;
                    ClientId(numbered)
                }
            };
            keys.push(Known {
                digest,
                client,
                is_short,
            });
        }
        Self { keys, numbered }
    }

    /// The first of them.
    pub(crate) fn first(&self) -> Option<&Known> {
        self.keys.first()
    }

    /// The key, if it is one of them. The same key given twice is one client's.
    pub(crate) fn find(&self, key: &str) -> Option<Known> {
        self.with_digest(&digest(key))
    }

    /// The key that has this digest, if it is one of them.
    pub(crate) fn with_digest(&self, shown: &[u8; 32]) -> Option<Known> {
        let places = (1..).zip(&self.keys);
        let found = places.fold(0_u32, |found, (place, known)| {
            let is_first = known.digest.ct_eq(shown) & found.ct_eq(&0);
            u32::conditional_select(&found, &place, is_first)
        });
        let index = usize::try_from(found).ok()?.checked_sub(1)?;
        self.keys.get(index).copied()
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(keys: &ApiKeys, key: &str) -> Option<ClientId> {
        keys.find(key).map(|known| known.client)
    }

    #[test]
    fn only_whole_keys_are_known() {
        let keys: ApiKeys = ["first", "second", "first"].into_iter().collect();
        assert_eq!(client(&keys, "first"), Some(ClientId(1)));
        assert_eq!(client(&keys, "second"), Some(ClientId(2)));
        for other in ["", "firs", "firstt", "First", "first second"] {
            assert_eq!(client(&keys, other), None, "{other:?}");
        }
    }

    #[test]
    fn a_key_stays_its_clients_when_others_come_and_go() {
        let first: ApiKeys = ["a", "b"].into_iter().collect();
        let second = ["c", "b"].into_iter().collect::<ApiKeys>().after(&first);
        assert_eq!(client(&second, "b"), Some(ClientId(2)));
        assert_eq!(client(&second, "c"), Some(ClientId(3)));
        assert_eq!(client(&second, "a"), None);
        let third = ["a", "b"].into_iter().collect::<ApiKeys>().after(&second);
        assert_eq!(
            client(&third, "a"),
            Some(ClientId(4)),
            "no number is given again"
        );
        assert_eq!(client(&third, "b"), Some(ClientId(2)));
    }

    #[test]
    fn a_key_is_not_printed() {
        let keys: ApiKeys = ["secret"].into_iter().collect();
        assert_eq!(format!("{keys:?}"), "1 keys");
    }
}
