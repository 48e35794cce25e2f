//! Responses that are kept for those who made them, within bounds. The owner that takes the most loses
//! its oldest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{Attempt, HistoryError};
use crate::model::Owner;
use crate::rows::{stored, time};
use crate::store::History;

/// What a response takes beside its texts: its id, numbers, and its places in indexes.
const OVERHEAD: usize = 512;

/// How much of responses is kept, of all owners together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most responses.
    pub max_responses: usize,
    /// Most bytes that they and the conversations behind them take.
    pub max_bytes: usize,
}

/// A response to keep. All of it is JSON text.
#[derive(Debug, Clone, Copy)]
pub struct KeptResponse<'a> {
    /// As its client got it.
    pub response: &'a str,
    /// The items of its request's input.
    pub input: &'a str,
    /// The conversation up to and with it.
    pub messages: &'a str,
}

/// A response that was kept: what [`KeptResponse`] had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// As its client got it.
    pub response: String,
    /// The items of its request's input.
    pub input: String,
    /// The conversation up to and with it.
    pub messages: String,
}

impl KeptResponse<'_> {
    fn bytes(&self) -> usize {
        OVERHEAD + self.response.len() + self.input.len() + self.messages.len()
    }
}

impl History {
    /// Keeps a response, in place of one with its id, and drops old ones if room is needed. One that has
    /// no room at all is not kept: then it says false.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn keep_response(
        &self,
        owner: &Owner,
        id: &str,
        kept: &KeptResponse<'_>,
        limits: Limits,
        now: u64,
    ) -> Result<bool, HistoryError> {
        let bytes = kept.bytes();
        if bytes > limits.max_bytes || limits.max_responses == 0 {
            return Ok(false);
        }
        self.write(|transaction| {
            remove(transaction, owner, id)?;
            transaction
                .prepare_cached(
                    "INSERT INTO responses(owner, id, response, input, messages, bytes, created_at) \
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    owner.as_str(),
                    id,
                    kept.response,
                    kept.input,
                    kept.messages,
                    bytes as i64,
                    stored(now),
                ])?;
            make_room(transaction, limits)?;
            Ok(true)
        })
    }

    /// An owner's response by its id.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn response(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<Option<StoredResponse>, HistoryError> {
        self.read(|connection| {
            let sql =
                "SELECT response, input, messages FROM responses WHERE owner = ?1 AND id = ?2";
            Ok(connection
                .prepare_cached(sql)?
                .query_row((owner.as_str(), id), |row| {
                    Ok(StoredResponse {
                        response: row.get(0)?,
                        input: row.get(1)?,
                        messages: row.get(2)?,
                    })
                })
                .optional()?)
        })
    }

    /// Deletes an owner's response for good; false if there was none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn delete_response(&self, owner: &Owner, id: &str) -> Result<bool, HistoryError> {
        let is_deleted = self.write(|transaction| remove(transaction, owner, id))?;
        if is_deleted {
            self.scrub();
        }
        Ok(is_deleted)
    }
}

fn remove(connection: &Connection, owner: &Owner, id: &str) -> Attempt<bool> {
    let sql = "DELETE FROM responses WHERE owner = ?1 AND id = ?2";
    let deleted = connection
        .prepare_cached(sql)?
        .execute((owner.as_str(), id))?;
    Ok(deleted > 0)
}

/// An owner, and what it loses.
struct Taker {
    owner: String,
    /// Its responses that are left, with their bytes, oldest first; they are read when it loses one.
    left: Option<std::vec::IntoIter<(i64, u64)>>,
    /// The newest that it loses, and with it all before.
    lost: Option<i64>,
}

/// Drops responses until all fit: each time the oldest of the owner that takes the most then.
fn make_room(connection: &Connection, limits: Limits) -> Attempt<()> {
    let mut takers = Vec::new();
    // By bytes; of those with as many, the first by name.
    let mut order = BinaryHeap::new();
    let [mut responses, mut bytes] = [0_u64; 2];
    // All of it is in an index: no response is read.
    let sql = "SELECT owner, count(*), sum(bytes) FROM responses GROUP BY owner ORDER BY owner";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        responses += time(row, 1)?;
        let taken = time(row, 2)?;
        bytes += taken;
        order.push((taken, Reverse(takers.len())));
        takers.push(Taker {
            owner: row.get(0)?,
            left: None,
            lost: None,
        });
    }
    while (responses > limits.max_responses as u64 || bytes > limits.max_bytes as u64)
        && let Some((taken, Reverse(index))) = order.pop()
    {
        let taker = &mut takers[index];
        let left = match &mut taker.left {
            Some(left) => left,
            left => left.insert(oldest_first(connection, &taker.owner)?.into_iter()),
        };
        if let Some((number, size)) = left.next() {
            taker.lost = Some(number);
            responses -= 1;
            bytes -= size;
            order.push((taken - size, Reverse(index)));
        }
    }
    for taker in takers {
        if let Some(lost) = taker.lost {
            let sql = "DELETE FROM responses WHERE owner = ?1 AND number <= ?2";
            connection
                .prepare_cached(sql)?
                .execute((taker.owner, lost))?;
        }
    }
    Ok(())
}

/// An owner's responses with their bytes.
fn oldest_first(connection: &Connection, owner: &str) -> Attempt<Vec<(i64, u64)>> {
    let sql = "SELECT number, bytes FROM responses WHERE owner = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let responses = statement.query_map([owner], |row| Ok((row.get(0)?, time(row, 1)?)))?;
    Ok(responses.collect::<rusqlite::Result<_>>()?)
}
