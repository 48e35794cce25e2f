//! A conversation as a client sends it, and what becomes of it.

use chrono::NaiveDateTime;
use serde_json::Value;

use crate::card::name;
use crate::card::read::Card;

/// What `{{user}}` is where nobody says it.
pub(crate) const DEFAULT_USER: &str = "User";

/// A conversation, for which a prompt is to be made.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Messages as OpenAI's API has them: objects with `role` and `content`, the latter text, a list
    /// of parts, or null. All other fields are kept.
    pub messages: &'a [Value],
    /// What `{{user}}` is. Else it is the `name` of the latest user message that has one, else what
    /// the card says, else "User".
    pub user: Option<&'a str>,
    /// The greeting that the conversation begins with, from 0.
    pub greeting: usize,
    /// Whether the last message, the assistant's, is to be continued.
    pub continues: bool,
    /// The user's local time, for `{{date}}` and the like, which say nothing without it.
    pub now: Option<NaiveDateTime>,
    /// Tokens of a text.
    pub count_tokens: &'a dyn Fn(&str) -> usize,
}

/// What a model is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    /// Messages in the form of those that came in.
    pub messages: Vec<Value>,
    /// Entries of the book that are among them.
    pub book_entries: usize,
}

/// What `{{user}}` is in a conversation.
pub(crate) fn user_of(card: &Card, scene: &Scene<'_>) -> String {
    let users = scene
        .messages
        .iter()
        .rev()
        .filter(|message| message["role"] == "user");
    let mut names = users.filter_map(|message| name::of_client(message["name"].as_str()?));
    let asked = scene.user.and_then(name::of_client);
    asked
        .or_else(|| names.next())
        .unwrap_or_else(|| default_user(card).to_owned())
}

/// What `{{user}}` is where the conversation does not say it.
pub(crate) fn default_user(card: &Card) -> &str {
    card.settings.user_name.as_deref().unwrap_or(DEFAULT_USER)
}
