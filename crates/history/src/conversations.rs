//! Conversations: made, read, changed and deleted.

use rusqlite::Connection;

use crate::check;
use crate::error::{Attempt, HistoryError};
use crate::insert;
use crate::model::{Changes, Conversation, NewConversation, Owner, WholeConversation};
use crate::rows;
use crate::search;
use crate::store::History;

impl History {
    /// Makes a conversation.
    ///
    /// # Errors
    ///
    /// When a field is too long or wrong, the owner has too many, or the file cannot be written.
    pub fn create(
        &self,
        owner: &Owner,
        new: &NewConversation,
        now: u64,
    ) -> Result<Conversation, HistoryError> {
        self.write(|transaction| {
            let number = insert::conversation(transaction, owner, new, (now, now))?;
            insert::has_room(transaction, &self.bounds(), owner, number)?;
            rows::conversation_at(transaction, number)
        })
    }

    /// A conversation by its id.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn conversation(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<Option<Conversation>, HistoryError> {
        self.read(|connection| {
            let number = rows::conversation_number(connection, owner, id)?;
            number
                .map(|number| rows::conversation_at(connection, number))
                .transpose()
        })
    }

    /// A conversation by its id, with all its messages, whose texts take
    /// [`CONVERSATION_BYTES`](crate::CONVERSATION_BYTES) at most.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn whole(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<Option<WholeConversation>, HistoryError> {
        self.read(|connection| {
            let Some(number) = rows::conversation_number(connection, owner, id)? else {
                return Ok(None);
            };
            Ok(Some(WholeConversation {
                conversation: rows::conversation_at(connection, number)?,
                messages: rows::messages_of(connection, number)?,
            }))
        })
    }

    /// Changes a conversation. Only another title counts as a change of its `updated_at`.
    ///
    /// # Errors
    ///
    /// When it is not there, a field is too long or wrong, the leaf is none of its messages, the owner has
    /// no room, or the file cannot be written.
    pub fn update(
        &self,
        owner: &Owner,
        id: &str,
        changes: &Changes,
        now: u64,
    ) -> Result<Conversation, HistoryError> {
        self.write(|transaction| {
            let number = rows::known_conversation(transaction, owner, id)?;
            let before = size(transaction, number)?;
            change(transaction, number, changes, now)?;
            let grown = size(transaction, number)? - before;
            if grown != 0 {
                let sql = "UPDATE conversations SET bytes = bytes + ?2 WHERE number = ?1";
                transaction.prepare_cached(sql)?.execute((number, grown))?;
            }
            if grown > 0 {
                insert::owner_has_room(transaction, &self.bounds(), owner)?;
            }
            rows::conversation_at(transaction, number)
        })
    }

    /// Deletes a conversation for good; false if there was none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn delete(&self, owner: &Owner, id: &str) -> Result<bool, HistoryError> {
        let is_deleted = self.write(|transaction| {
            let number = rows::conversation_number(transaction, owner, id)?;
            if let Some(number) = number {
                delete(transaction, &[number])?;
            }
            Ok(number.is_some())
        })?;
        if is_deleted {
            self.scrub();
        }
        Ok(is_deleted)
    }

    /// Deletes all conversations of an owner for good, and says how many.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; then none is deleted.
    pub fn delete_all(&self, owner: &Owner) -> Result<usize, HistoryError> {
        let deleted = self.write(|transaction| {
            let sql = "SELECT number FROM conversations WHERE owner = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            let numbers = statement.query_map([owner.as_str()], |row| row.get(0))?;
            let numbers: Vec<i64> = numbers.collect::<rusqlite::Result<_>>()?;
            delete(transaction, &numbers)?;
            Ok(numbers.len())
        })?;
        if deleted > 0 {
            self.scrub();
        }
        Ok(deleted)
    }
}

fn change(connection: &Connection, number: i64, changes: &Changes, now: u64) -> Attempt<()> {
    if let Some(title) = &changes.title {
        let title = check::title(title)?;
        let sql = "UPDATE conversations SET title = ?2, updated_at = max(updated_at, ?3) \
                   WHERE number = ?1 AND title <> ?2";
        let changed =
            connection
                .prepare_cached(sql)?
                .execute((number, title, rows::stored(now)))?;
        if changed > 0 {
            search::forget_title(connection, number)?;
            search::index_title(connection, number, title)?;
        }
    }
    if let Some(pinned) = changes.pinned {
        let sql = "UPDATE conversations SET pinned = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute((number, pinned))?;
    }
    if let Some(folder) = &changes.folder {
        let folder = check::folder(folder.as_deref())?;
        let sql = "UPDATE conversations SET folder = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute((number, folder))?;
    }
    if let Some(settings) = &changes.settings {
        let settings = check::settings(Some(settings))?;
        let sql = "UPDATE conversations SET settings = ?2 WHERE number = ?1";
        connection
            .prepare_cached(sql)?
            .execute((number, settings))?;
    }
    if let Some(draft) = &changes.draft {
        let draft = check::draft(draft)?;
        let sql = "UPDATE conversations SET draft = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute((number, draft))?;
    }
    if let Some(leaf) = &changes.leaf {
        let leaf = rows::message_number(connection, number, leaf)?
            .ok_or_else(|| HistoryError::invalid("leaf", "is no message of this conversation"))?;
        let sql = "UPDATE conversations SET leaf = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute((number, leaf))?;
    }
    Ok(())
}

/// Bytes of the texts that [`change`] may change.
fn size(connection: &Connection, number: i64) -> Attempt<i64> {
    let sql = "SELECT octet_length(title) + ifnull(octet_length(folder), 0) \
               + octet_length(settings) + octet_length(draft) FROM conversations WHERE number = ?1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([number], |row| row.get(0))?)
}

/// Deletes conversations with all that belongs to them.
fn delete(connection: &Connection, numbers: &[i64]) -> Attempt<()> {
    let mut messages = 0;
    for number in numbers {
        let sql = "SELECT message_count FROM conversations WHERE number = ?1";
        let mut count = connection.prepare_cached(sql)?;
        messages += count.query_row([number], |row| row.get::<_, i64>(0))?;
    }
    search::forgetting(connection, messages, || {
        for number in numbers {
            // Triggers take the messages out of the index, and the cascade takes their details.
            connection
                .prepare_cached("DELETE FROM messages WHERE conversation = ?1")?
                .execute([number])?;
            connection
                .prepare_cached("DELETE FROM conversations WHERE number = ?1")?
                .execute([number])?;
        }
        Ok(())
    })
}
