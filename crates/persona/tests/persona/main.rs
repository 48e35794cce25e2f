//! Cards from their files to prompts, and back.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod book;
mod builders;
mod cards;
mod compose;
mod errors;
mod export;
mod hostile;
mod properties;
mod reading;
mod snapshots;
