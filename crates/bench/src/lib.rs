//! Measuring servers and models: load, statistics, and reports that say under what they were made.
//!
//! This crate knows no model and no other crate of the house: it drives whatever speaks OpenAI's API, and
//! renders whatever was measured.

pub mod compare;
pub mod machine;
pub mod peer;
pub mod render;
pub mod report;
pub mod serve;
pub mod stats;
