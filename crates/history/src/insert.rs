//! Conversations and messages, written, and whether there is room for them.

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::bounds::{Bounds, CONTENT_BYTES, SETTINGS_BYTES};
use crate::check;
use crate::error::{Attempt, HistoryError};
use crate::model::{Message, NewConversation, Owner, State};
use crate::rows::{stored, time};
use crate::search;

/// What a row takes beside its texts: its id, numbers, and its places in indexes.
const OVERHEAD: usize = 256;

/// A new id: 128 random bits, which nobody guesses.
pub(crate) fn new_id(prefix: &str) -> Attempt<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| {
        HistoryError::invalid("id", format!("cannot be made: no random bits: {error}"))
    })?;
    Ok(format!("{prefix}{:032x}", u128::from_be_bytes(bits)))
}

/// A message's id that its caller has made, if it is one and no message has it.
pub(crate) fn unused_id(connection: &Connection, id: &str) -> Attempt<String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = id
        .strip_prefix("msg_")
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(is_digit));
    if !is_id {
        let message = "must be \"msg_\" and 32 lower-case hexadecimal digits";
        return Err(HistoryError::invalid("id", message).into());
    }
    let is_taken: bool = connection
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM messages WHERE id = ?1)")?
        .query_row([id], |row| row.get(0))?;
    if is_taken {
        return Err(HistoryError::invalid("id", "is taken").into());
    }
    Ok(id.to_owned())
}

/// Writes a conversation without messages.
pub(crate) fn conversation(
    connection: &Connection,
    owner: &Owner,
    new: &NewConversation,
    (created_at, updated_at): (u64, u64),
) -> Attempt<i64> {
    let title = check::title(&new.title)?;
    let folder = check::folder(new.folder.as_deref())?;
    let settings = check::settings(new.settings.as_ref())?;
    let draft = check::draft(&new.draft)?;
    let bytes = OVERHEAD + title.len() + folder.map_or(0, str::len) + settings.len() + draft.len();
    connection
        .prepare_cached(
            "INSERT INTO conversations(id, owner, title, created_at, updated_at, pinned, folder, \
             settings, draft, bytes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            new_id("conv_")?,
            owner.as_str(),
            title,
            stored(created_at),
            stored(updated_at),
            new.pinned,
            folder,
            settings,
            draft,
            bytes as i64,
        ])?;
    let number = connection.last_insert_rowid();
    search::index_title(connection, number, title)?;
    Ok(number)
}

/// A message's fields as they are kept.
struct Texts<'a> {
    content: String,
    reasoning: Option<&'a str>,
    tool_calls: Option<String>,
    error: Option<&'a str>,
    finish_reason: Option<&'a str>,
    usage: Option<String>,
    timings: Option<String>,
}

impl<'a> Texts<'a> {
    fn new(message: &'a Message) -> Result<Self, HistoryError> {
        let usage = message.usage.as_ref();
        let timings = message.timings.as_ref();
        Ok(Self {
            content: check::content(&message.content)?,
            reasoning: check::text("the reasoning", message.reasoning.as_deref())?,
            tool_calls: check::tool_calls(message.tool_calls.as_ref())?,
            error: check::text("the error", message.error.as_deref())?,
            finish_reason: check::text("the finish reason", message.finish_reason.as_deref())?,
            usage: check::value("the usage", "usage", usage, CONTENT_BYTES)?,
            timings: check::value("the timings", "timings", timings, CONTENT_BYTES)?,
        })
    }

    fn bytes(&self) -> usize {
        let optional = [self.reasoning, self.error, self.finish_reason];
        let json = [&self.tool_calls, &self.usage, &self.timings];
        OVERHEAD
            + self.content.len()
            + optional
                .iter()
                .flatten()
                .map(|text| text.len())
                .sum::<usize>()
            + json
                .iter()
                .filter_map(|json| json.as_ref())
                .map(String::len)
                .sum::<usize>()
    }
}

/// Writes a new message. Its `parent` and `has_logprobs` do not count: the first is given by its number,
/// the second follows from details.
pub(crate) fn message(
    connection: &Connection,
    conversation: i64,
    parent: Option<i64>,
    message: &Message,
) -> Attempt<i64> {
    let texts = Texts::new(message)?;
    let tool_call_id = check::text("the tool call's id", message.tool_call_id.as_deref())?;
    let model = check::text("the model", message.model.as_deref())?;
    let settings = message.settings.as_ref();
    let settings = check::value("the settings", "settings", settings, SETTINGS_BYTES)?;
    let bytes = texts.bytes()
        + tool_call_id.map_or(0, str::len)
        + model.map_or(0, str::len)
        + settings.as_ref().map_or(0, String::len);
    connection
        .prepare_cached(
            "INSERT INTO messages(id, conversation, parent, role, content, reasoning, tool_calls, \
             tool_call_id, model, created_at, state, error, finish_reason, usage, timings, \
             settings, bytes) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
             ?15, ?16, ?17)",
        )?
        .execute(params![
            message.id,
            conversation,
            parent,
            message.role.as_str(),
            texts.content,
            texts.reasoning,
            texts.tool_calls,
            tool_call_id,
            model,
            stored(message.created_at),
            message.state.as_str(),
            texts.error,
            texts.finish_reason,
            texts.usage,
            texts.timings,
            settings,
            bytes as i64,
        ])?;
    let number = connection.last_insert_rowid();
    if message.state != State::Running {
        search::index_message(connection, number, message.role, &message.content)?;
    }
    Ok(number)
}

/// Writes over a message what an answer has: the fields of [`Texts`], and its state.
pub(crate) fn overwrite(connection: &Connection, number: i64, message: &Message) -> Attempt<()> {
    let texts = Texts::new(message)?;
    connection
        .prepare_cached(
            "UPDATE messages SET content = ?2, reasoning = ?3, tool_calls = ?4, state = ?5, \
             error = ?6, finish_reason = ?7, usage = ?8, timings = ?9, bytes = ?10 \
             + ifnull(octet_length(tool_call_id), 0) + ifnull(octet_length(model), 0) \
             + ifnull(octet_length(settings), 0) \
             + ifnull((SELECT ifnull(octet_length(logprobs), 0) + ifnull(octet_length(request), 0) \
             FROM details WHERE message = ?1), 0) WHERE number = ?1",
        )?
        .execute(params![
            number,
            texts.content,
            texts.reasoning,
            texts.tool_calls,
            message.state.as_str(),
            texts.error,
            texts.finish_reason,
            texts.usage,
            texts.timings,
            texts.bytes() as i64,
        ])?;
    if message.state != State::Running {
        search::forget_message(connection, number)?;
        search::index_message(connection, number, message.role, &message.content)?;
    }
    Ok(())
}

/// Writes what is too large to list. What is none stays as it is.
pub(crate) fn details(
    connection: &Connection,
    number: i64,
    logprobs: Option<&Value>,
    request: Option<&Value>,
) -> Attempt<()> {
    let logprobs = check::detail("the log probabilities", "logprobs", logprobs)?;
    let request = check::detail("the request", "request", request)?;
    if logprobs.is_none() && request.is_none() {
        return Ok(());
    }
    let size = "SELECT ifnull(octet_length(logprobs), 0) + ifnull(octet_length(request), 0) \
                FROM details WHERE message = ?1";
    let mut size = connection.prepare_cached(size)?;
    let mut size = || -> rusqlite::Result<i64> {
        let mut rows = size.query([number])?;
        rows.next()?.map_or(Ok(0), |row| row.get(0))
    };
    let before = size()?;
    connection
        .prepare_cached(
            "INSERT INTO details(message, logprobs, request) VALUES(?1, ?2, ?3) \
             ON CONFLICT(message) DO UPDATE SET logprobs = ifnull(excluded.logprobs, logprobs), \
             request = ifnull(excluded.request, request)",
        )?
        .execute((number, &logprobs, request))?;
    connection
        .prepare_cached(
            "UPDATE messages SET has_logprobs = has_logprobs OR ?2, bytes = bytes + ?3 \
             WHERE number = ?1",
        )?
        .execute((number, logprobs.is_some(), size()? - before))?;
    Ok(())
}

/// Refuses what was written if it is too much for its conversation, or for its owner.
pub(crate) fn has_room(
    connection: &Connection,
    bounds: &Bounds,
    owner: &Owner,
    conversation: i64,
) -> Attempt<()> {
    let sql = "SELECT message_count, text_bytes FROM conversations WHERE number = ?1";
    let (messages, bytes) = connection
        .prepare_cached(sql)?
        .query_row([conversation], |row| Ok((time(row, 0)?, time(row, 1)?)))?;
    let (what, advice) = ("a conversation", ": begin a new one");
    bounded(what, messages, bounds.messages, "messages", advice)?;
    bounded(what, bytes, bounds.conversation_bytes, "bytes", advice)?;
    owner_has_room(connection, bounds, owner)
}

/// Refuses what was written if it is too much for its owner.
pub(crate) fn owner_has_room(
    connection: &Connection,
    bounds: &Bounds,
    owner: &Owner,
) -> Attempt<()> {
    let sql = "SELECT conversations, bytes FROM owners WHERE owner = ?1";
    let (conversations, bytes) = connection
        .prepare_cached(sql)?
        .query_row([owner.as_str()], |row| Ok((time(row, 0)?, time(row, 1)?)))?;
    let (what, advice) = ("the history", ": delete old ones");
    bounded(
        what,
        conversations,
        bounds.conversations,
        "conversations",
        advice,
    )?;
    let advice = ": delete old conversations";
    bounded(what, bytes, bounds.owner_bytes, "bytes", advice)
}

fn bounded(
    what: &'static str,
    number: u64,
    limit: u64,
    unit: &'static str,
    advice: &'static str,
) -> Attempt<()> {
    if number <= limit {
        return Ok(());
    }
    Err(HistoryError::TooMuch {
        what,
        limit,
        unit,
        advice,
    }
    .into())
}
