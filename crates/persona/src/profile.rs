//! What anybody may see of a persona. What a model is told about it is not among that.

use serde::Serialize;
use serde_json::Number;

/// The open part of a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The model name.
    pub id: String,
    /// The character's name.
    pub name: String,
    /// What the character is called, where that is another name.
    pub nickname: Option<String>,
    /// Who made the card.
    pub creator: String,
    /// What its maker tells users, as it is written: often HTML, which is to be shown as text.
    pub creator_notes: String,
    /// The card's version, as its maker counts.
    pub character_version: String,
    /// What it is filed under.
    pub tags: Vec<String>,
    /// Where the card is from: addresses or ids.
    pub source: Vec<String>,
    /// Seconds since 1970.
    pub creation_date: Option<Number>,
    /// Seconds since 1970.
    pub modification_date: Option<Number>,
    /// The base model or adapter that the card names.
    pub model: Option<String>,
    /// What a conversation can begin with, with the default name for the user.
    pub greetings: Vec<String>,
    /// Whether there is a picture.
    pub has_picture: bool,
    /// The specification that the card follows, such as `chara_card_v3`.
    pub spec: &'static str,
}
