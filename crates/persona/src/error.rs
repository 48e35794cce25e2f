//! What can be wrong with a card or with a conversation, and what to do about it.

/// Why a card cannot be read or written.
///
/// Paths of fields are written as in `data.character_book.entries[3].keys`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonaError {
    /// A file, or the text in it, is larger than any card.
    #[error(
        "{what} has {bytes} bytes, and at most {limit} are read: give it a smaller picture, or remove assets"
    )]
    TooLarge {
        /// What is too large.
        what: String,
        /// Bytes that it has, or the least it has where reading stopped.
        bytes: usize,
        /// Bytes that are read.
        limit: usize,
    },

    /// The file is of no form that cards have.
    #[error(
        "this is no character card ({reason}): give a PNG, JSON, CHARX or TOML file with one in it"
    )]
    Format {
        /// What it is instead.
        reason: String,
    },

    /// Text that is not UTF-8.
    #[error("{place} is not UTF-8 text at byte {offset}: save the card as UTF-8")]
    NotUtf8 {
        /// The file or chunk.
        place: String,
        /// The first byte that is wrong, from 0.
        offset: usize,
    },

    /// Text that is not JSON.
    #[error("{place} is not JSON: {problem}; export the card again, or mend it there")]
    Json {
        /// The file, chunk or member.
        place: String,
        /// What is wrong, with line and column.
        problem: String,
    },

    /// A TOML card that is wrong.
    #[error("the card is not as TOML cards are: {problem}")]
    Toml {
        /// What is wrong, with line and column.
        problem: String,
    },

    /// A PNG file that is broken.
    #[error("the PNG file is broken at byte {offset}: {problem}; download or export it again")]
    Png {
        /// Where, from the beginning of the file.
        offset: usize,
        /// What is wrong.
        problem: String,
    },

    /// A picture without a card.
    #[error(
        "this PNG is a picture only: it has no tEXt chunk `ccv3` or `chara`, in which cards are. Sites that convert pictures remove it; get the original file"
    )]
    NoCard,

    /// A chunk that is not base64.
    #[error("the card in the PNG's chunk `{chunk}` is not base64 ({problem}): export it again")]
    Base64 {
        /// Keyword of the chunk.
        chunk: &'static str,
        /// What is wrong.
        problem: String,
    },

    /// A CHARX archive that is broken or has no card.
    #[error("the CHARX archive cannot be used: {problem}; export it again")]
    Charx {
        /// What is wrong.
        problem: String,
    },

    /// A field of another type than it must have.
    #[error("`{path}` must be {expected}, not {found}: correct the field or remove it")]
    Type {
        /// The field.
        path: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },

    /// A field whose value cannot be used.
    #[error("`{path}` {problem}")]
    Value {
        /// The field.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },

    /// A card without a name.
    #[error("the card has no name: fill in `{path}`")]
    NoName {
        /// The field.
        path: String,
    },

    /// More of something than is read.
    #[error("`{path}` has {count} elements, and at most {limit} are read: split the card")]
    TooMany {
        /// The field.
        path: String,
        /// Elements that it has.
        count: usize,
        /// Elements that are read.
        limit: usize,
    },

    /// Fields that contain each other by their macros.
    #[error("the card's fields contain each other without end: {}; remove one of these macros", fields.join(" → "))]
    Cycle {
        /// The fields in the order in which each names the next; the first is the last again.
        fields: Vec<String>,
    },

    /// A card that cannot be written in the form asked for.
    #[error("the card cannot be written as {form}: {problem}")]
    Write {
        /// The form.
        form: &'static str,
        /// Why.
        problem: String,
    },
}

/// Why no prompt can be made of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// A system message for a persona that takes none.
    #[error(
        "messages[{index}] is a system message, and `{persona}` takes none: leave it out, or set `system_messages` of the card to \"add\""
    )]
    SystemMessage {
        /// The message, from 0.
        index: usize,
        /// The persona's model name.
        persona: String,
    },

    /// A greeting that the card does not have.
    #[error("there is no greeting {asked}: `{persona}` has {there_are}, counted from 0")]
    Greeting {
        /// The greeting asked for, from 0.
        asked: usize,
        /// Greetings of the card.
        there_are: usize,
        /// The persona's model name.
        persona: String,
    },

    /// A message that is none.
    #[error("messages[{index}] must be an object with a string `role`")]
    NotAMessage {
        /// The message, from 0.
        index: usize,
    },

    /// A request to go on with a message that is not the assistant's.
    #[error(
        "only an assistant's message can be continued, and the last message is not one: end the conversation with it, or do not ask to continue"
    )]
    NothingToContinue,
}

impl PersonaError {
    /// The same, with paths as TOML cards have them.
    pub(crate) fn in_toml(self) -> Self {
        let renamed = |path: String| {
            let path = path.strip_prefix("data.").unwrap_or(&path);
            let path = path.strip_prefix("extensions.matou.").unwrap_or(path);
            path.replacen("character_book", "book", 1)
        };
        match self {
            Self::Type {
                path,
                expected,
                found,
            } => Self::Type {
                path: renamed(path),
                expected,
                found,
            },
            Self::Value { path, problem } => Self::Value {
                path: renamed(path),
                problem,
            },
            Self::TooMany { path, count, limit } => Self::TooMany {
                path: renamed(path),
                count,
                limit,
            },
            Self::NoName { path } => Self::NoName {
                path: renamed(path),
            },
            other => other,
        }
    }
}
