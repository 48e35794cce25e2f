//! Conversations and messages, as the page gets and sends them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Whom something belongs to: a text that the caller makes, such as a digest of a key. It is only ever
/// compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

impl Owner {
    /// An owner by its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A conversation without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "object", rename = "history.conversation")]
pub struct Conversation {
    /// Its id: `conv_` and 32 hexadecimal digits, 128 random bits.
    pub id: String,
    /// Its title; empty until it has one.
    pub title: String,
    /// When it was made, in unix seconds.
    pub created_at: u64,
    /// When its messages or its title changed last, in unix seconds.
    pub updated_at: u64,
    /// Whether it is listed before those that are not pinned.
    pub pinned: bool,
    /// The folder that it is in.
    pub folder: Option<String>,
    /// An object that is the page's.
    pub settings: Value,
    /// The text that is not sent yet.
    pub draft: String,
    /// The id of the message that the branch on show ends at.
    pub leaf: Option<String>,
    /// How many messages it has, in all branches.
    pub message_count: u64,
    /// Where the text was found, in a listing with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
}

/// A piece of a message, or a title, with what was searched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HistorySnippet)]
pub struct Snippet {
    /// About 120 characters round the first match, on one line; "…" stands where more is left out.
    pub text: String,
    /// Where the matches begin and end in it, in UTF-16 units, in order.
    pub matches: Vec<[usize; 2]>,
    /// The message; none where it is the title.
    pub message_id: Option<String>,
}

/// A conversation with all its messages, parents before their children.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WholeConversation {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// Its messages.
    pub messages: Vec<Message>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HistoryRole)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A human.
    User,
    /// A model.
    Assistant,
    /// Whoever set the conversation up.
    System,
    /// A tool that the model called.
    Tool,
}

impl Role {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }

    /// The role with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant, Self::System, Self::Tool]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = HistoryState)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is whole.
    #[default]
    Done,
    /// It is being written.
    Running,
    /// Its reader ended it.
    Stopped,
    /// The server ended before it did.
    Interrupted,
    /// An error ended it.
    Failed,
}

impl State {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        use State::{Done, Failed, Interrupted, Running, Stopped};
        [Done, Running, Stopped, Interrupted, Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A message. Read from JSON (to import it), fields that are not known do not count, and all but `id`
/// and `role` may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HistoryMessage)]
pub struct Message {
    /// Its id: `msg_` and 32 hexadecimal digits, 128 random bits.
    pub id: String,
    /// The id of the message that it follows; none at the beginning of a conversation.
    #[serde(default)]
    pub parent: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// Text, or an array of parts.
    #[serde(default = "no_text")]
    pub content: Value,
    /// What the model thought before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The tools that the model calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<Value>>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The model that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it was made, in unix seconds.
    #[serde(default)]
    pub created_at: u64,
    /// How far it is.
    #[serde(default)]
    pub state: State,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the model ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// How many tokens it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Value>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Value>,
    /// The sampling fields that it was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
    /// Whether log probabilities of it are kept.
    #[serde(default)]
    pub has_logprobs: bool,
}

fn no_text() -> Value {
    Value::String(String::new())
}

/// A message with what is too large to list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryDetail)]
pub struct Detail {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// The log probabilities of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Value>,
    /// The request that it answers, conversation and all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
}

/// A conversation to be made. In JSON all may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewConversation {
    /// Its title.
    #[serde(deserialize_with = "or_nothing")]
    pub title: String,
    /// Whether it is pinned.
    #[serde(deserialize_with = "or_nothing")]
    pub pinned: bool,
    /// Its folder; an empty name is none.
    pub folder: Option<String>,
    /// The page's settings: an object.
    pub settings: Option<Value>,
    /// The text that is not sent yet.
    #[serde(deserialize_with = "or_nothing")]
    pub draft: String,
}

/// What changes of a conversation; what is none stays. In JSON, `"folder": null` takes it out of its
/// folder.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[schema(as = HistoryChanges)]
#[serde(default)]
pub struct Changes {
    /// Its title.
    pub title: Option<String>,
    /// Whether it is pinned.
    pub pinned: Option<bool>,
    /// Its folder; `Some(None)` and an empty name are none.
    #[serde(deserialize_with = "given")]
    pub folder: Option<Option<String>>,
    /// The page's settings: an object, which replaces the one before.
    pub settings: Option<Value>,
    /// The text that is not sent yet.
    pub draft: Option<String>,
    /// The message that the branch on show ends at.
    pub leaf: Option<String>,
}

/// A field that is null is one that is not there.
fn or_nothing<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

/// Tells a field that is null from one that is not there.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(field).map(Some)
}

/// A message to be made. `id`, `state`, `settings` and `request` are the server's: JSON does not set them.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct NewMessage {
    /// The id that it gets: `msg_` and 32 lower-case hexadecimal digits, which no message has yet; none:
    /// a new one.
    #[serde(skip)]
    pub id: Option<String>,
    /// The message that it follows.
    #[serde(default)]
    pub parent: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// Text, or an array of parts; null is empty text.
    #[serde(default = "no_text")]
    pub content: Value,
    /// What the model thought before.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// The tools that the model calls.
    #[serde(default)]
    pub tool_calls: Option<Vec<Value>>,
    /// The call that a tool's message answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// The model that wrote it.
    #[serde(default)]
    pub model: Option<String>,
    /// How far it is.
    #[serde(skip)]
    pub state: State,
    /// The sampling fields that it is asked with: an object.
    #[serde(skip)]
    pub settings: Option<Value>,
    /// The request that it answers.
    #[serde(skip)]
    pub request: Option<Value>,
}

impl NewMessage {
    /// A message that is done, without anything but its content.
    pub fn new(parent: Option<String>, role: Role, content: impl Into<Value>) -> Self {
        Self {
            id: None,
            parent,
            role,
            content: content.into(),
            reasoning: None,
            tool_calls: None,
            tool_call_id: None,
            model: None,
            state: State::Done,
            settings: None,
            request: None,
        }
    }
}

/// An answer, or what there is of it so far. It replaces what there was, but for `logprobs` and
/// `request`: those stay where they are none, so that a checkpoint need not bring them.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Text, or an array of parts.
    pub content: Value,
    /// What the model thought before.
    pub reasoning: Option<String>,
    /// The tools that the model calls.
    pub tool_calls: Option<Vec<Value>>,
    /// How far it is.
    pub state: State,
    /// What went wrong.
    pub error: Option<String>,
    /// Why the model ended.
    pub finish_reason: Option<String>,
    /// How many tokens it took.
    pub usage: Option<Value>,
    /// How long it took.
    pub timings: Option<Value>,
    /// The log probabilities of its tokens.
    pub logprobs: Option<Value>,
    /// The request that it answers.
    pub request: Option<Value>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            content: no_text(),
            reasoning: None,
            tool_calls: None,
            state: State::Running,
            error: None,
            finish_reason: None,
            usage: None,
            timings: None,
            logprobs: None,
            request: None,
        }
    }
}

/// Which conversations are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// How many at most: 1 to [`LISTED`](crate::LISTED).
    pub limit: usize,
    /// Those after this one.
    pub after: Option<String>,
    /// Those of this folder.
    pub folder: Option<String>,
    /// Those where all words of this text occur in one message or in the title, in any case and with or
    /// without accents. For words of one or two characters that holds of A to Z only, and they are looked
    /// for in titles and in the beginning ([`SCANNED_CHARS`](crate::SCANNED_CHARS)) of the newest
    /// [`SCANNED_MESSAGES`](crate::SCANNED_MESSAGES) messages only.
    pub text: Option<String>,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            limit: 50,
            after: None,
            folder: None,
            text: None,
        }
    }
}

/// The conversations that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryListed)]
pub struct Listed {
    /// The conversations: pinned ones first, then those that changed last.
    pub data: Vec<Conversation>,
    /// Whether there are more after them.
    pub has_more: bool,
    /// The folders that the owner has, by name.
    pub folders: Vec<String>,
}

/// A conversation from a file. Fields that are not known do not count; all may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImportedConversation {
    /// Its title.
    #[serde(deserialize_with = "or_nothing")]
    pub title: String,
    /// When it was made, in unix seconds; 0: now.
    #[serde(deserialize_with = "or_nothing")]
    pub created_at: u64,
    /// When it changed last, in unix seconds; 0: when it was made.
    #[serde(deserialize_with = "or_nothing")]
    pub updated_at: u64,
    /// Whether it is pinned.
    #[serde(deserialize_with = "or_nothing")]
    pub pinned: bool,
    /// Its folder.
    pub folder: Option<String>,
    /// The page's settings: an object.
    pub settings: Option<Value>,
    /// The text that is not sent yet.
    #[serde(deserialize_with = "or_nothing")]
    pub draft: String,
    /// The message that the branch on show ends at; none: the last.
    pub leaf: Option<String>,
    /// Its messages, in any order.
    #[serde(deserialize_with = "or_nothing")]
    pub messages: Vec<Message>,
}

impl From<WholeConversation> for ImportedConversation {
    fn from(whole: WholeConversation) -> Self {
        let conversation = whole.conversation;
        Self {
            title: conversation.title,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            pinned: conversation.pinned,
            folder: conversation.folder,
            settings: Some(conversation.settings),
            draft: conversation.draft,
            leaf: conversation.leaf,
            messages: whole.messages,
        }
    }
}
