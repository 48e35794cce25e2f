//! Rows of the tables, read.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

use crate::error::{Attempt, HistoryError};
use crate::model::{Conversation, Message, Owner, Role, State};

/// What a [`Conversation`] is read from, in its order; the table is called `c`.
pub(crate) const CONVERSATION: &str = "c.number, c.id, c.title, c.created_at, c.updated_at, \
     c.pinned, c.folder, c.settings, c.draft, \
     (SELECT leaf.id FROM messages leaf WHERE leaf.number = c.leaf), c.message_count";

/// What a [`Message`] is read from, in its order; the table is called `m`.
pub(crate) const MESSAGE: &str = "m.number, m.id, \
     (SELECT parent.id FROM messages parent WHERE parent.number = m.parent), m.role, m.content, \
     m.reasoning, m.tool_calls, m.tool_call_id, m.model, m.created_at, m.state, m.error, \
     m.finish_reason, m.usage, m.timings, m.settings, m.has_logprobs";

/// A conversation from [`CONVERSATION`].
pub(crate) fn conversation(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    Ok(Conversation {
        id: row.get(1)?,
        title: row.get(2)?,
        created_at: time(row, 3)?,
        updated_at: time(row, 4)?,
        pinned: row.get(5)?,
        folder: row.get(6)?,
        settings: json(row, 7)?,
        draft: row.get(8)?,
        leaf: row.get(9)?,
        message_count: time(row, 10)?,
        snippet: None,
    })
}

/// A message from [`MESSAGE`].
pub(crate) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(1)?,
        parent: row.get(2)?,
        role: named(row, 3, Role::from_name)?,
        content: json(row, 4)?,
        reasoning: row.get(5)?,
        tool_calls: optional(row, 6)?,
        tool_call_id: row.get(7)?,
        model: row.get(8)?,
        created_at: time(row, 9)?,
        state: named(row, 10, State::from_name)?,
        error: row.get(11)?,
        finish_reason: row.get(12)?,
        usage: optional(row, 13)?,
        timings: optional(row, 14)?,
        settings: optional(row, 15)?,
        has_logprobs: row.get(16)?,
    })
}

/// JSON in a column.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    parse(column, row.get_ref(column)?.as_str()?)
}

/// JSON in a column that may be null.
pub(crate) fn optional<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(|text| parse(column, text)).transpose()
}

fn parse<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

fn unreadable(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

fn named<T>(row: &Row<'_>, column: usize, find: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let name = row.get_ref(column)?.as_str()?;
    find(name).ok_or_else(|| unreadable(column, format!("\"{name}\" is none of the names there")))
}

/// A number that was written by [`stored`].
pub(crate) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| u64::try_from(number).unwrap_or(0))
}

/// A number as SQLite keeps it: larger ones are its largest.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of an owner's conversation.
pub(crate) fn conversation_number(
    connection: &Connection,
    owner: &Owner,
    id: &str,
) -> Attempt<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT number FROM conversations WHERE id = ?1 AND owner = ?2")?
        .query_row((id, owner.as_str()), |row| row.get(0))
        .optional()?)
}

/// The number of an owner's conversation, which has to be there.
pub(crate) fn known_conversation(connection: &Connection, owner: &Owner, id: &str) -> Attempt<i64> {
    let what = "conversation";
    Ok(conversation_number(connection, owner, id)?.ok_or(HistoryError::NotFound { what })?)
}

/// The number of a conversation's message.
pub(crate) fn message_number(
    connection: &Connection,
    conversation: i64,
    id: &str,
) -> Attempt<Option<i64>> {
    Ok(connection
        .prepare_cached("SELECT number FROM messages WHERE id = ?1 AND conversation = ?2")?
        .query_row((id, conversation), |row| row.get(0))
        .optional()?)
}

/// The number of an owner's message.
pub(crate) fn owned_message(
    connection: &Connection,
    owner: &Owner,
    conversation: &str,
    message: &str,
) -> Attempt<Option<(i64, i64)>> {
    let Some(conversation) = conversation_number(connection, owner, conversation)? else {
        return Ok(None);
    };
    let number = message_number(connection, conversation, message)?;
    Ok(number.map(|number| (conversation, number)))
}

/// A conversation by its number.
pub(crate) fn conversation_at(connection: &Connection, number: i64) -> Attempt<Conversation> {
    let sql = format!("SELECT {CONVERSATION} FROM conversations c WHERE c.number = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([number], conversation)?)
}

/// A message by its number.
pub(crate) fn message_at(connection: &Connection, number: i64) -> Attempt<Message> {
    let sql = format!("SELECT {MESSAGE} FROM messages m WHERE m.number = ?1");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row([number], message)?)
}

/// All messages of a conversation, parents first.
pub(crate) fn messages_of(connection: &Connection, conversation: i64) -> Attempt<Vec<Message>> {
    let sql =
        format!("SELECT {MESSAGE} FROM messages m WHERE m.conversation = ?1 ORDER BY m.number");
    let mut statement = connection.prepare_cached(&sql)?;
    let messages = statement.query_map([conversation], message)?;
    Ok(messages.collect::<rusqlite::Result<_>>()?)
}
