//! How much is kept at most. What is over a bound is refused with an error that names it.

/// Most characters of a title.
pub const TITLE_CHARS: usize = 300;
/// Most characters of a folder's name.
pub const FOLDER_CHARS: usize = 100;
/// Most bytes of a draft.
pub const DRAFT_BYTES: usize = 256 << 10;
/// Most bytes of the settings of a conversation, or of a message, as JSON.
pub const SETTINGS_BYTES: usize = 64 << 10;
/// Most bytes of one message: of its content, and of its reasoning, its tool calls and all other fields
/// each.
pub const CONTENT_BYTES: usize = 4 << 20;
/// Most bytes of the request, and of the log probabilities, behind one answer.
pub const DETAIL_BYTES: usize = 64 << 20;
/// Most conversations of one owner.
pub const CONVERSATIONS: u64 = 100_000;
/// Most messages of one conversation.
pub const MESSAGES: u64 = 20_000;
/// Most bytes of the texts of one conversation's messages, which are what is in memory when it is read
/// whole: all of them but log probabilities and requests. Answers that were being written when it was
/// reached are kept all the same.
pub const CONVERSATION_BYTES: u64 = 64 << 20;
/// Most JSON values in each of a message's content, tool calls, usage, timings and settings, and in a
/// conversation's settings: in memory each takes many times its text.
pub const JSON_VALUES: usize = 10_000;
/// Most JSON values in the request, and in the log probabilities, behind one answer.
pub const DETAIL_VALUES: usize = 4_000_000;
/// Most bytes of one owner's conversations, with all that belongs to them.
pub const OWNER_BYTES: u64 = 4 << 30;
/// Most conversations that one listing gives.
pub const LISTED: usize = 200;
/// Most folders that one listing names.
pub const FOLDERS: usize = 1000;
/// Most characters of a text that is searched for.
pub const QUERY_CHARS: usize = 1000;
/// Most words of a text that is searched for.
pub const QUERY_TERMS: usize = 16;
/// Bytes of a message, from its beginning, that are searched.
pub const SEARCHED_BYTES: usize = 1 << 20;
/// Messages that a word of one or two characters is looked for in, newest first: no index helps there.
/// If it is searched for with longer words, they are the newest of those that have these.
pub const SCANNED_MESSAGES: u64 = 2_000;
/// Characters of each of them, from its beginning, that it is looked for in.
pub const SCANNED_CHARS: usize = 64 << 10;
/// Most sign-ins.
pub const SIGN_INS: u64 = 10_000;
/// Most sign-ins with one key.
pub const SIGN_INS_OF_KEY: u64 = 100;
/// Deepest nesting of JSON: what is nested deeper could not be read again.
pub(crate) const JSON_DEPTH: usize = 100;

/// Those bounds that no test would reach in good time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) conversations: u64,
    pub(crate) messages: u64,
    pub(crate) conversation_bytes: u64,
    pub(crate) owner_bytes: u64,
    pub(crate) sign_ins: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            conversations: CONVERSATIONS,
            messages: MESSAGES,
            conversation_bytes: CONVERSATION_BYTES,
            owner_bytes: OWNER_BYTES,
            sign_ins: SIGN_INS,
        }
    }
}
