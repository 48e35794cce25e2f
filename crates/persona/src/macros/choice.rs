//! Chance that stays: what `{{random:…}}`, `{{pick:…}}` and `{{roll:…}}` come to.
//!
//! The same card gives the same choice at the same place for as long as a conversation goes on, so
//! that a prompt does not change behind the model's back and what is cached of it stays valid. The
//! choice is FNV-1a with 64 bits over card, place and first message, mixed by the finalizer of
//! SplitMix64, because the low bits of FNV alone tell neighbours apart badly.

/// Where a hash begins: FNV's offset.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// What all choices of a conversation begin with: the card's id and the user's first message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The message is read once, however many choices follow.
    pub(crate) fn of(id: &str, first_user_message: &str) -> Self {
        Self(hashed(hashed(OFFSET, id), first_user_message))
    }

    /// A number below `below`, the same at the same place. 0 where `below` is 0.
    pub(crate) fn choose(self, place: &str, ordinal: usize, below: u64) -> u64 {
        let hash = hashed(hashed(self.0, place), &ordinal.to_string());
        within(hash, below)
    }
}

impl Default for Seed {
    fn default() -> Self {
        Self(OFFSET)
    }
}

fn hashed(mut hash: u64, text: &str) -> u64 {
    // 0xff ends a text: none in UTF-8 holds that byte.
    for byte in text.bytes().chain([0xff]) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn within(hash: u64, below: u64) -> u64 {
    ((u128::from(mixed(hash)) * u128::from(below)) >> 64) as u64
}

fn mixed(mut hash: u64) -> u64 {
    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_stay_and_spread() {
        let far = |id: &str, first: &str| Seed::of(id, first).choose("place", 1, u64::MAX);
        assert_eq!(far("a", "b"), far("a", "b"));
        assert_ne!(far("a", "b"), far("ab", ""));
        let seed = Seed::of("a", "b");
        assert_ne!(
            seed.choose("place", 1, u64::MAX),
            seed.choose("place", 2, u64::MAX)
        );
        assert_eq!(seed.choose("place", 1, 0), 0);
        let mut counts = [0; 6];
        for index in 0..6000 {
            counts[seed.choose("place", index, 6) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_mixer_is_that_of_its_authors() {
        // The first output of SplitMix64 from the state 0.
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf);
    }
}
