//! Character cards: read from their files, and put before a model.
//!
//! ```text
//! PNG, JSON, CHARX, TOML ──▶ Persona::read ──▶ Persona ──▶ profile, picture, greetings
//!                                                 │
//! messages of a client ──▶ Scene ──▶ Persona::compose ──▶ messages for the base model
//! ```
//!
//! A character is a model name: who asks for it talks to its base model, which is told who it is.
//! Everything here is a function of bytes and messages: no files, no clock, no chance. Cards come
//! from strangers, so how much is read of one and how much work it can cause is bounded (see
//! `limits`), and what a card tells the model is not among what it shows to anybody.

mod book;
mod card;
mod compose;
mod container;
mod error;
mod export;
mod findings;
mod limits;
mod macros;
mod persona;
mod profile;
mod source;

pub use card::settings::{Sampling, SystemMessages};
pub use compose::scene::{Composed, Scene};
pub use container::picture::Picture;
pub use error::{ComposeError, PersonaError};
pub use findings::Finding;
pub use limits::{MAX_CARD_BYTES, MAX_TEXT_BYTES};
pub use persona::Persona;
pub use profile::Profile;
