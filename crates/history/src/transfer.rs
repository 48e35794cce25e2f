//! Conversations out of the history, and into it.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use crate::bounds::Bounds;
use crate::error::{Attempt, HistoryError};
use crate::insert;
use crate::model::{
    Conversation, ImportedConversation, Message, NewConversation, Owner, State, WholeConversation,
};
use crate::rows;
use crate::store::History;

impl History {
    /// Gives all conversations of an owner with their messages, one after the other, in the order in which
    /// they were made. One is in memory at a time. What is made or deleted meanwhile may or may not be
    /// among them. An error of `each` ends it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or `each` gives one.
    pub fn export<E: From<HistoryError>>(
        &self,
        owner: &Owner,
        mut each: impl FnMut(WholeConversation) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = 0;
        loop {
            // The lock is not held while the caller writes.
            let next = self.read(|connection| next_after(connection, owner, last))?;
            let Some((number, whole)) = next else {
                return Ok(());
            };
            last = number;
            each(whole)?;
        }
    }

    /// Makes a conversation of one from a file: with new ids, at the times that it says, but none of the
    /// conversation later than now. What was running is interrupted.
    ///
    /// # Errors
    ///
    /// When a field is too long or wrong, ids occur twice, parents or the leaf are not there, messages
    /// follow each other in a circle, there is no room, or the file cannot be written. Then nothing is
    /// kept of it.
    pub fn import(
        &self,
        owner: &Owner,
        imported: &ImportedConversation,
        now: u64,
    ) -> Result<Conversation, HistoryError> {
        let order = order(imported, &self.bounds())?;
        self.write(|transaction| self.import_one(transaction, owner, (imported, &order), now))
    }

    /// Makes conversations of some from a file, as [`import`](Self::import) does of one: all of them, or
    /// none.
    ///
    /// # Errors
    ///
    /// As of [`import`](Self::import). What is wrong says in which conversation; the first is 1.
    pub fn import_all(
        &self,
        owner: &Owner,
        imported: &[ImportedConversation],
        now: u64,
    ) -> Result<Vec<Conversation>, HistoryError> {
        let bounds = self.bounds();
        let orders = imported.iter().zip(1..).map(|(imported, place)| {
            order(imported, &bounds).map_err(|error| error.of_conversation(place))
        });
        let orders: Vec<Vec<usize>> = orders.collect::<Result<_, _>>()?;
        self.write(|transaction| {
            let each = imported.iter().zip(&orders).zip(1..);
            each.map(|((imported, order), place)| {
                self.import_one(transaction, owner, (imported, order), now)
                    .map_err(|failure| failure.of_conversation(place))
            })
            .collect()
        })
    }

    fn import_one(
        &self,
        connection: &Connection,
        owner: &Owner,
        (imported, order): (&ImportedConversation, &[usize]),
        now: u64,
    ) -> Attempt<Conversation> {
        let number = write(connection, owner, imported, order, now)?;
        insert::has_room(connection, &self.bounds(), owner, number)?;
        rows::conversation_at(connection, number)
    }
}

/// The order in which a conversation's messages are written, if there are not too many.
fn order(imported: &ImportedConversation, bounds: &Bounds) -> Result<Vec<usize>, HistoryError> {
    let limit = bounds.messages;
    if imported.messages.len() as u64 > limit {
        return Err(HistoryError::TooMuch {
            what: "a conversation",
            limit,
            unit: "messages",
            advice: "",
        });
    }
    parents_first(&imported.messages)
}

fn next_after(
    connection: &Connection,
    owner: &Owner,
    last: i64,
) -> Attempt<Option<(i64, WholeConversation)>> {
    let sql = "SELECT min(number) FROM conversations WHERE owner = ?1 AND number > ?2";
    let next: Option<Option<i64>> = connection
        .prepare_cached(sql)?
        .query_row((owner.as_str(), last), |row| row.get(0))
        .optional()?;
    let Some(number) = next.flatten() else {
        return Ok(None);
    };
    let whole = WholeConversation {
        conversation: rows::conversation_at(connection, number)?,
        messages: rows::messages_of(connection, number)?,
    };
    Ok(Some((number, whole)))
}

/// The messages' indexes, each after its parent's; as they are, if they are so already.
fn parents_first(messages: &[Message]) -> Result<Vec<usize>, HistoryError> {
    let invalid = |message: String| HistoryError::invalid("messages", message);
    let mut indexes = HashMap::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        if indexes.insert(message.id.as_str(), index).is_some() {
            return Err(invalid(format!("have the id {:?} twice", message.id)));
        }
    }
    let mut order = Vec::with_capacity(messages.len());
    let mut is_placed = vec![false; messages.len()];
    let mut waiting: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        let parent =
            match message.parent.as_deref() {
                None => None,
                Some(id) => Some(*indexes.get(id).ok_or_else(|| {
                    invalid(format!("have no parent {id:?} for {:?}", message.id))
                })?),
            };
        if let Some(parent) = parent.filter(|&parent| !is_placed[parent]) {
            waiting.entry(parent).or_default().push(index);
            continue;
        }
        let mut next = vec![index];
        while let Some(index) = next.pop() {
            is_placed[index] = true;
            order.push(index);
            let children = waiting.remove(&index).unwrap_or_default();
            next.extend(children.into_iter().rev());
        }
    }
    if order.len() < messages.len() {
        return Err(invalid("follow each other in a circle".to_owned()));
    }
    Ok(order)
}

fn write(
    connection: &Connection,
    owner: &Owner,
    imported: &ImportedConversation,
    order: &[usize],
    now: u64,
) -> Attempt<i64> {
    let created_at = match imported.created_at {
        0 => now,
        time => time.min(now),
    };
    let new = NewConversation {
        title: imported.title.clone(),
        pinned: imported.pinned,
        folder: imported.folder.clone(),
        settings: imported.settings.clone(),
        draft: imported.draft.clone(),
    };
    let times = (created_at, imported.updated_at.clamp(created_at, now));
    let conversation = insert::conversation(connection, owner, &new, times)?;
    let mut numbers = HashMap::with_capacity(order.len());
    let mut last = None;
    for &index in order {
        let given = &imported.messages[index];
        let mut message = Message {
            id: insert::new_id("msg_")?,
            ..given.clone()
        };
        if message.created_at == 0 {
            message.created_at = created_at;
        }
        if message.state == State::Running {
            message.state = State::Interrupted;
        }
        let parent = given.parent.as_deref();
        let parent = parent.and_then(|parent| numbers.get(parent).copied());
        let number = insert::message(connection, conversation, parent, &message)?;
        numbers.insert(given.id.as_str(), number);
        last = Some(number);
    }
    let leaf = match imported.leaf.as_deref() {
        None => last,
        Some(leaf) => Some(
            *numbers
                .get(leaf)
                .ok_or_else(|| HistoryError::invalid("leaf", "is none of the messages"))?,
        ),
    };
    connection
        .prepare_cached("UPDATE conversations SET leaf = ?2 WHERE number = ?1")?
        .execute((conversation, leaf))?;
    Ok(conversation)
}
