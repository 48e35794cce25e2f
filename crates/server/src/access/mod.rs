//! Who may use the server: the keys that clients must show, and the web pages that may ask.
//!
//! Keys are compared by their digests and in constant time, each with every known one: how long it
//! takes tells nothing about them, not even their length.
//!
//! A server without keys on a loopback address trusts the programs of its machine, but not the pages
//! that a browser on it has open. They are told by `Origin`, which browsers send with whatever a page
//! posts elsewhere, and by `Host`: a page whose site's name was made to resolve to this machine sends no
//! `Origin` with what it fetches, and the name it was loaded by.
//!
//! A browser shows its key once, and has a cookie from then on: scripts cannot read it, and pages of other
//! origins cannot use it. How often wrong keys can be tried is bounded by address.

mod enter;
mod guesses;
mod keys;
mod links;
mod owner;
mod rules;
mod sign_ins;
mod sites;

pub(crate) use enter::{Entrance, cookie_name, is_same_origin, require_key, shown_cookie};
pub(crate) use guesses::{Guesses, Peer};
pub use keys::ApiKeys;
pub(crate) use keys::Known;
pub(crate) use links::{LINK_LIFE, Links};
pub(crate) use owner::owner_of;
pub use rules::Access;
pub(crate) use sign_ins::{SIGN_IN_LIFE, SignIns};
pub(crate) use sites::{cors, refuse_other_sites};
