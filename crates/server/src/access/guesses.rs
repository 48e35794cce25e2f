//! How often wrong keys can be tried: by address, some at once and then one every so often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong keys that an address may show at once: a page that was left open with an old key shows some.
const AT_ONCE: f64 = 20.0;
/// How long it takes until it may show another.
const EVERY: Duration = Duration::from_secs(6);
/// Addresses that are kept in mind; each that is forgotten may begin anew.
const MAX_ADDRESSES: usize = 4096;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    /// The one at `address`. Of IPv6 a household has 2⁶⁴ addresses: they count as one.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        })
    }

    /// One of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

/// Who has tried how many wrong keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guesses(Arc<Mutex<HashMap<Peer, Bucket>>>);

/// What is left of the tries of an address.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn left(&self, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() / EVERY.as_secs_f64();
        (self.left + gained).min(AT_ONCE)
    }
}

impl Guesses {
    /// How long this address has to wait until it may show another wrong key, if it has to.
    pub(crate) fn wait(&self, peer: Peer, now: Instant) -> Option<Duration> {
        let left = self.lock().get(&peer)?.left(now);
        (left < 1.0).then(|| EVERY.mul_f64(1.0 - left))
    }

    /// Takes note of a wrong key.
    pub(crate) fn note(&self, peer: Peer, now: Instant) {
        let mut buckets = self.lock();
        if !buckets.contains_key(&peer) && buckets.len() >= MAX_ADDRESSES {
            buckets.retain(|_, bucket| bucket.left(now) < AT_ONCE);
            let best = |(_, one): &(&Peer, &Bucket), (_, other): &(&Peer, &Bucket)| {
                one.left(now).total_cmp(&other.left(now))
            };
            let least_guilty = buckets.iter().max_by(best).map(|(peer, _)| *peer);
            if buckets.len() >= MAX_ADDRESSES
                && let Some(peer) = least_guilty
            {
                buckets.remove(&peer);
            }
        }
        let bucket = buckets.entry(peer).or_insert(Bucket {
            left: AT_ONCE,
            at: now,
        });
        *bucket = Bucket {
            left: (bucket.left(now) - 1.0).max(0.0),
            at: now,
        };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> Peer {
        Peer::at(IpAddr::V6(Ipv6Addr::new(
            0x2001, 0xdb8, 0, number, 0, 0, 0, 1,
        )))
    }

    #[test]
    fn an_address_has_some_tries_and_gets_others_in_time() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(guesses.wait(peer(1), now), None);
            guesses.note(peer(1), now);
        }
        assert_eq!(guesses.wait(peer(1), now), Some(EVERY));
        assert_eq!(guesses.wait(peer(2), now), None, "others are not held up");
        assert!(guesses.wait(peer(1), now + EVERY / 2).is_some());
        let later = now + EVERY;
        assert_eq!(guesses.wait(peer(1), later), None);
        guesses.note(peer(1), later);
        assert!(guesses.wait(peer(1), later).is_some());
    }

    #[test]
    fn who_tries_from_many_addresses_does_not_fill_memory() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..20 {
            guesses.note(peer(0), now);
        }
        for number in 1..6000 {
            guesses.note(peer(number), now);
        }
        assert!(guesses.lock().len() <= MAX_ADDRESSES);
        assert!(guesses.wait(peer(0), now).is_some(), "the worst is kept");
    }

    #[test]
    fn a_household_is_one_address() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::2:3"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }
}
