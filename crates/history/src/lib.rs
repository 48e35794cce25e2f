//! What a server keeps for its users in one SQLite file: conversations, kept responses and sign-ins.
//!
//! ```text
//! Owner ──┬─ conversations ── messages (a tree) ── details (requests, log probabilities)
//!         │        └── titles ──┴──────────────── full-text index
//!         └─ responses                                            sign-ins
//! ```
//!
//! All of it is by owner: to another owner it does not exist. It knows neither HTTP nor a clock: callers
//! say what time it is, in unix seconds. All calls block: most for some milliseconds, deletions of long
//! conversations for a second or more, and any of them for five while another program holds a lock. In a
//! file, those that read do not wait for those that write, nor these for those.
//!
//! What a call has kept is on the disk when it returns. What is deleted is overwritten, in the file, in
//! its index and in its log: no text of it is left there.

mod bounds;
mod check;
mod conversations;
mod error;
mod insert;
mod listing;
mod markdown;
mod messages;
mod model;
mod responses;
mod rows;
mod schema;
mod search;
mod sign_ins;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

pub use bounds::{
    CONTENT_BYTES, CONVERSATION_BYTES, CONVERSATIONS, DETAIL_BYTES, DETAIL_VALUES, DRAFT_BYTES,
    FOLDER_CHARS, FOLDERS, JSON_VALUES, LISTED, MESSAGES, OWNER_BYTES, QUERY_CHARS, QUERY_TERMS,
    SCANNED_CHARS, SCANNED_MESSAGES, SEARCHED_BYTES, SETTINGS_BYTES, SIGN_INS, SIGN_INS_OF_KEY,
    TITLE_CHARS,
};
pub use error::HistoryError;
pub use markdown::markdown;
pub use model::{
    Answer, Changes, Conversation, Detail, ImportedConversation, Listed, Listing, Message,
    NewConversation, NewMessage, Owner, Role, Snippet, State, WholeConversation,
};
pub use responses::{KeptResponse, Limits, StoredResponse};
pub use sign_ins::SignIn;
pub use store::History;
