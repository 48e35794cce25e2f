//! From a card and a conversation to what a model is given.

pub(crate) mod message;
pub(crate) mod place;
pub(crate) mod prompt;
pub(crate) mod scene;
pub(crate) mod system;
