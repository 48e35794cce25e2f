//! Which texts a server has produced. It keeps salted hashes of them, and no text; a text that somebody
//! brings is looked up by hashes of its own.
//!
//! ```text
//! an answer ──Fingerprinter──▶ Fingerprint ──▶ ProvenanceLog ──▶ a file
//!                                                                 │
//! a text ─────Fingerprinter──▶ Fingerprint ──────verify───────────┴▶ Verdict
//! ```
//!
//! A passage is found by winnowing (Schleimer, Wilkerson and Aiken 2003, "Winnowing: local algorithms for
//! document fingerprinting"): of the hashes of all stretches of [`STRETCH`] letters, the least of each
//! [`WINDOW`] that follow each other is kept. So of every passage of [`SHORTEST`] letters that two texts
//! have in common at least two hashes are common, wherever it stands; one alone may be a saying. What is no letter or digit does not
//! count, nor does case: line breaks, quotation marks and Markdown may change. Other words are another
//! text.

mod fingerprint;
mod log;
mod record;
mod verify;

pub use fingerprint::{Fingerprint, Fingerprinter, SHORTEST, STRETCH, Salt, WINDOW};
pub use log::ProvenanceLog;
pub use record::{Record, Source};
pub use verify::{Match, Verdict, VerifyError, verify};
