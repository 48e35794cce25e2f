//! The files that cards come in, as bytes: where the card's text lies in them, and how it is put
//! there. What the text says is no matter here.

pub(crate) mod charx;
pub(crate) mod picture;
pub(crate) mod png;
pub(crate) mod text;
