//! The book: which entries a conversation calls for.

pub(crate) mod activate;
pub(crate) mod key;
pub(crate) mod scan;
