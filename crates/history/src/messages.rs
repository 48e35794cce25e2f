//! Messages: added, written on, read and deleted.

use rusqlite::{Connection, OptionalExtension};

use crate::bounds::MESSAGES;
use crate::error::{Attempt, HistoryError};
use crate::insert;
use crate::model::{Answer, Detail, Message, NewMessage, Owner, State};
use crate::rows;
use crate::schema::TEXT_BYTES;
use crate::search;
use crate::store::History;

impl History {
    /// Adds a message; the conversation's leaf becomes it. Titles are the caller's to make.
    ///
    /// # Errors
    ///
    /// When the conversation is not there, the parent is none of its messages, the id is taken, a field is
    /// too long or wrong, there is no room, or the file cannot be written.
    pub fn add_message(
        &self,
        owner: &Owner,
        conversation: &str,
        new: &NewMessage,
        now: u64,
    ) -> Result<Message, HistoryError> {
        self.write(|transaction| {
            let conversation = rows::known_conversation(transaction, owner, conversation)?;
            let parent = match &new.parent {
                None => None,
                Some(id) => Some(
                    rows::message_number(transaction, conversation, id)?.ok_or_else(|| {
                        HistoryError::invalid("parent", "is no message of this conversation")
                    })?,
                ),
            };
            let message = Message {
                id: match &new.id {
                    None => insert::new_id("msg_")?,
                    Some(id) => insert::unused_id(transaction, id)?,
                },
                parent: new.parent.clone(),
                role: new.role,
                content: new.content.clone(),
                reasoning: new.reasoning.clone(),
                tool_calls: new.tool_calls.clone(),
                tool_call_id: new.tool_call_id.clone(),
                model: new.model.clone(),
                created_at: now,
                state: new.state,
                error: None,
                finish_reason: None,
                usage: None,
                timings: None,
                settings: new.settings.clone(),
                has_logprobs: false,
            };
            let number = insert::message(transaction, conversation, parent, &message)?;
            insert::details(transaction, number, None, new.request.as_ref())?;
            let sql = "UPDATE conversations SET leaf = ?2 WHERE number = ?1";
            transaction
                .prepare_cached(sql)?
                .execute((conversation, number))?;
            touch(transaction, conversation, now)?;
            insert::has_room(transaction, &self.bounds(), owner, conversation)?;
            rows::message_at(transaction, number)
        })
    }

    /// Writes what there is of an answer over what there was: at checkpoints while it is made, and at its
    /// end. False if its message was deleted meanwhile. It is found by searches once it no longer runs. One
    /// that has ended is kept even if there is no room for it, in its conversation or for its owner: it
    /// would be lost, and there is none for what follows it.
    ///
    /// # Errors
    ///
    /// When a field is too long or wrong, there is no room while it runs, or the file cannot be written.
    /// What was kept before stays.
    pub fn save_answer(
        &self,
        owner: &Owner,
        conversation: &str,
        message: &str,
        answer: &Answer,
        now: u64,
    ) -> Result<bool, HistoryError> {
        self.write(|transaction| {
            let found = rows::owned_message(transaction, owner, conversation, message)?;
            let Some((conversation, number)) = found else {
                return Ok(false);
            };
            let message = Message {
                content: answer.content.clone(),
                reasoning: answer.reasoning.clone(),
                tool_calls: answer.tool_calls.clone(),
                state: answer.state,
                error: answer.error.clone(),
                finish_reason: answer.finish_reason.clone(),
                usage: answer.usage.clone(),
                timings: answer.timings.clone(),
                ..rows::message_at(transaction, number)?
            };
            insert::overwrite(transaction, number, &message)?;
            let logprobs = answer.logprobs.as_ref();
            insert::details(transaction, number, logprobs, answer.request.as_ref())?;
            touch(transaction, conversation, now)?;
            if answer.state == State::Running {
                insert::has_room(transaction, &self.bounds(), owner, conversation)?;
            }
            Ok(true)
        })
    }

    /// The messages from the beginning of a conversation to one of its messages, which is the last; none
    /// if that is not there. Their texts take so many bytes at most; of more, none is loaded.
    ///
    /// # Errors
    ///
    /// When they take more, or the file cannot be read.
    pub fn path(
        &self,
        owner: &Owner,
        conversation: &str,
        message: &str,
        most_bytes: u64,
    ) -> Result<Option<Vec<Message>>, HistoryError> {
        self.read(|connection| {
            let found = rows::owned_message(connection, owner, conversation, message)?;
            let Some((_, number)) = found else {
                return Ok(None);
            };
            let above = format!(
                "WITH RECURSIVE above(number, parent) AS ( \
                 SELECT number, parent FROM messages WHERE number = ?1 UNION ALL \
                 SELECT messages.number, messages.parent FROM above \
                 JOIN messages ON messages.number = above.parent LIMIT {MESSAGES})"
            );
            let branch = "FROM above JOIN messages m ON m.number = above.number";
            let bytes = connection
                .prepare_cached(&format!("{above} SELECT sum({TEXT_BYTES}) {branch}"))?
                .query_row([number], |row| rows::time(row, 0))?;
            if bytes > most_bytes {
                return Err(HistoryError::TooMuch {
                    what: "the branch",
                    limit: most_bytes,
                    unit: "bytes",
                    advice: ": begin a new conversation",
                }
                .into());
            }
            let sql = format!(
                "{above} SELECT {} {branch} ORDER BY m.number",
                rows::MESSAGE
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let messages = statement.query_map([number], rows::message)?;
            Ok(Some(messages.collect::<rusqlite::Result<_>>()?))
        })
    }

    /// A message with all that belongs to it; none if it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn message(
        &self,
        owner: &Owner,
        conversation: &str,
        message: &str,
    ) -> Result<Option<Detail>, HistoryError> {
        self.read(|connection| {
            let found = rows::owned_message(connection, owner, conversation, message)?;
            let Some((_, number)) = found else {
                return Ok(None);
            };
            let details = connection
                .prepare_cached("SELECT logprobs, request FROM details WHERE message = ?1")?
                .query_row([number], |row| {
                    Ok((rows::optional(row, 0)?, rows::optional(row, 1)?))
                })
                .optional()?;
            let (logprobs, request) = details.unwrap_or_default();
            Ok(Some(Detail {
                message: rows::message_at(connection, number)?,
                logprobs,
                request,
            }))
        })
    }

    /// Deletes a message and all below it for good; false if it is not there. If the leaf is among them,
    /// it moves to the end of the newest branch beside it, or to its parent.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn delete_message(
        &self,
        owner: &Owner,
        conversation: &str,
        message: &str,
        now: u64,
    ) -> Result<bool, HistoryError> {
        let is_deleted = self.write(|transaction| {
            let found = rows::owned_message(transaction, owner, conversation, message)?;
            let Some((conversation, number)) = found else {
                return Ok(false);
            };
            let parent: Option<i64> = transaction
                .prepare_cached("SELECT parent FROM messages WHERE number = ?1")?
                .query_row([number], |row| row.get(0))?;
            let count: i64 = transaction
                .prepare_cached(&format!("{BELOW} SELECT count(*) FROM below"))?
                .query_row([number], |row| row.get(0))?;
            search::forgetting(transaction, count, || {
                let sql = "DELETE FROM messages WHERE number IN (SELECT number FROM below)";
                let mut delete = transaction.prepare_cached(&format!("{BELOW} {sql}"))?;
                Ok(delete.execute([number])?)
            })?;
            move_leaf(transaction, conversation, parent)?;
            touch(transaction, conversation, now)?;
            Ok(true)
        })?;
        if is_deleted {
            self.scrub();
        }
        Ok(is_deleted)
    }

    /// The ids of the messages that are being written, of a message and all below it, or of the whole
    /// conversation: what a server has to stop before it deletes them. Of what is not there, there are none.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn message_ids_below(
        &self,
        owner: &Owner,
        conversation: &str,
        message: Option<&str>,
    ) -> Result<Vec<String>, HistoryError> {
        self.read(|connection| {
            // Few messages run: the index of those is the way to them.
            let running = "SELECT id FROM messages INDEXED BY messages_running \
                           WHERE state = 'running' AND conversation = ?2";
            let (number, sql) = match message {
                None => (None, format!("{running} AND ?1 IS NULL ORDER BY number")),
                Some(message) => (
                    rows::owned_message(connection, owner, conversation, message)?
                        .map(|(_, number)| number),
                    format!(
                        "{BELOW} {running} AND number IN (SELECT number FROM below) \
                         ORDER BY number"
                    ),
                ),
            };
            let conversation = rows::conversation_number(connection, owner, conversation)?;
            let mut statement = connection.prepare_cached(&sql)?;
            let ids = statement.query_map((number, conversation), |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Marks what is being written as interrupted, and says how many: for a server that begins, when
    /// nobody writes it any more. If another server with the same file does, its running answers are shown
    /// as interrupted until their next checkpoint.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn interrupt_running(&self) -> Result<usize, HistoryError> {
        self.write(|transaction| {
            let sql = "SELECT number FROM messages WHERE state = 'running'";
            let mut statement = transaction.prepare_cached(sql)?;
            let numbers = statement.query_map([], |row| row.get(0))?;
            let numbers: Vec<i64> = numbers.collect::<rusqlite::Result<_>>()?;
            for &number in &numbers {
                let sql = "UPDATE messages SET state = ?2 WHERE number = ?1";
                let state = State::Interrupted.as_str();
                transaction.prepare_cached(sql)?.execute((number, state))?;
                let message = rows::message_at(transaction, number)?;
                search::forget_message(transaction, number)?;
                search::index_message(transaction, number, message.role, &message.content)?;
            }
            Ok(numbers.len())
        })
    }
}

/// The beginning of a statement: `below` is the message `?1` and all below it.
const BELOW: &str = "WITH RECURSIVE below(number) AS (SELECT ?1 UNION ALL \
     SELECT messages.number FROM below JOIN messages ON messages.parent = below.number)";

/// A conversation has changed. Clocks may go back: it does not.
fn touch(connection: &Connection, conversation: i64, now: u64) -> Attempt<()> {
    let sql = "UPDATE conversations SET updated_at = ?2 WHERE number = ?1 AND updated_at < ?2";
    connection
        .prepare_cached(sql)?
        .execute((conversation, rows::stored(now)))?;
    Ok(())
}

/// If the leaf is gone: from the newest remaining child of `parent` along newest children to their end,
/// or to the parent itself.
fn move_leaf(connection: &Connection, conversation: i64, parent: Option<i64>) -> Attempt<()> {
    // Children have greater numbers than their parents: the greatest on the way is its end.
    connection
        .prepare_cached(
            "WITH RECURSIVE down(number) AS (SELECT (SELECT max(number) FROM messages \
             WHERE conversation = ?1 AND parent IS ?2) UNION ALL \
             SELECT (SELECT max(messages.number) FROM messages \
             WHERE messages.parent = down.number) FROM down WHERE down.number IS NOT NULL) \
             UPDATE conversations SET leaf = ifnull((SELECT max(number) FROM down), ?2) \
             WHERE number = ?1 AND NOT EXISTS \
             (SELECT 1 FROM messages WHERE messages.number = conversations.leaf)",
        )?
        .execute((conversation, parent))?;
    Ok(())
}
