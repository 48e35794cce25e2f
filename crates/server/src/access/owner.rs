//! To whom it belongs what a server keeps.

use matou_history::Owner;
use sha2::{Digest, Sha256};

use super::keys::Known;

/// To whom it belongs what is kept for a key; without one, to everybody. It stays the same when keys are
/// added, taken away or put into another order, and does not give the key's digest away.
pub(crate) fn owner_of(known: Option<&Known>) -> Owner {
    let Some(known) = known else {
        return Owner::new("everybody");
    };
    let mut digest = Sha256::new();
    digest.update(b"what matou keeps for a key\0");
    digest.update(known.digest);
    let digits = digest.finalize();
    let digits = digits[..16].iter().map(|byte| format!("{byte:02x}"));
    Owner::new(digits.collect::<String>())
}
