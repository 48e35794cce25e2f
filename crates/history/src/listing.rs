//! Conversations, listed and searched.

use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::bounds::{FOLDERS, LISTED, SCANNED_CHARS, SCANNED_MESSAGES};
use crate::error::{Attempt, HistoryError};
use crate::model::{Conversation, Listed, Listing, Owner, Snippet};
use crate::rows;
use crate::search::{MARKS, Query, pattern, snippet};
use crate::store::History;

impl History {
    /// Conversations of an owner: pinned ones first, then those that changed last.
    ///
    /// # Errors
    ///
    /// When the limit is out of bounds, the one to list after is not there, the text is too long, or the
    /// file cannot be read.
    pub fn list(&self, owner: &Owner, listing: &Listing) -> Result<Listed, HistoryError> {
        if !(1..=LISTED).contains(&listing.limit) {
            let message = format!("must be 1 to {LISTED}");
            return Err(HistoryError::invalid("limit", message));
        }
        let text = listing.text.as_deref();
        let query = text.map(Query::new).transpose()?.flatten();
        self.read(|connection| {
            let mut found = find(connection, owner, listing, query.as_ref())?;
            let has_more = found.len() > listing.limit;
            found.truncate(listing.limit);
            let mut data = Vec::with_capacity(found.len());
            for hit in found {
                let mut conversation = hit.conversation;
                if let Some(query) = &query {
                    conversation.snippet = Some(piece(connection, query, hit.number, hit.message)?);
                }
                data.push(conversation);
            }
            Ok(Listed {
                data,
                has_more,
                folders: folders(connection, owner)?,
            })
        })
    }
}

/// A conversation that is listed.
struct Hit {
    number: i64,
    conversation: Conversation,
    /// The newest of its messages with what was searched for; none where that is its title.
    message: Option<i64>,
}

/// One more conversation than the limit, if there are so many.
fn find(
    connection: &Connection,
    owner: &Owner,
    listing: &Listing,
    query: Option<&Query>,
) -> Attempt<Vec<Hit>> {
    let patterns: Vec<String> = query.map_or_else(Vec::new, |query| {
        query.short.iter().map(|term| pattern(term)).collect()
    });
    let names: Vec<String> = (0..patterns.len()).map(|it| format!(":term{it}")).collect();
    let owner_text = owner.as_str();
    let limit = listing.limit as i64 + 1;
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":owner", &owner_text), (":limit", &limit)];
    values.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(patterns.iter().map(|it| it as &dyn ToSql)),
    );
    let (mut sql, found) = match query {
        None => (String::new(), "NULL"),
        Some(query) => {
            if let Some(indexed) = &query.indexed {
                values.push((":query", indexed));
            }
            (hits(query, &names), "max(found.message)")
        }
    };
    sql += &format!("SELECT {}, {found} FROM ", rows::CONVERSATION);
    sql += match query {
        None => "conversations c",
        Some(_) => "found CROSS JOIN conversations c ON c.number = found.conversation",
    };
    sql += " WHERE c.owner = :owner";
    if let Some(folder) = &listing.folder {
        sql += " AND c.folder = :folder";
        values.push((":folder", folder));
    }
    let place = match &listing.after {
        Some(id) => Some(place(connection, owner, id)?),
        None => None,
    };
    if let Some((pinned, updated, number)) = &place {
        sql += " AND (c.pinned, c.updated_at, c.number) < (:pinned, :updated, :number)";
        values.extend([
            (":pinned", pinned as &dyn ToSql),
            (":updated", updated),
            (":number", number),
        ]);
    }
    if query.is_some() {
        sql += " GROUP BY c.number";
    }
    sql += " ORDER BY c.pinned DESC, c.updated_at DESC, c.number DESC LIMIT :limit";
    let mut statement = connection.prepare_cached(&sql)?;
    let hits = statement.query_map(values.as_slice(), |row| {
        Ok(Hit {
            number: row.get(0)?,
            conversation: rows::conversation(row)?,
            message: row.get(11)?,
        })
    })?;
    Ok(hits.collect::<rusqlite::Result<_>>()?)
}

/// The beginning of a statement: `found` is each conversation with what is searched for, with the newest
/// such message or none for its title. Where short words are among it, the newest messages that have the
/// others are read to their end or to a bound.
fn hits(query: &Query, names: &[String]) -> String {
    let like = |column: &str| -> String {
        let tests = names
            .iter()
            .map(|name| format!(" AND {column} LIKE {name} ESCAPE '\\'"));
        tests.collect()
    };
    let messages = if query.short.is_empty() {
        "SELECT m.conversation, max(m.number) FROM message_text t \
         CROSS JOIN messages m ON m.number = t.rowid \
         CROSS JOIN conversations o ON o.number = m.conversation AND o.owner = :owner \
         WHERE t.message_text MATCH :query GROUP BY m.conversation"
            .to_owned()
    } else {
        // Of the owner's messages alone: those of others, however many, cost nothing.
        let newest = match &query.indexed {
            None => {
                "SELECT s.number, s.conversation FROM conversations o \
                 CROSS JOIN messages s ON s.conversation = o.number \
                 WHERE o.owner = :owner ORDER BY s.number"
            }
            Some(_) => {
                "SELECT t.rowid AS number, s.conversation FROM message_text t \
                 CROSS JOIN messages s ON s.number = t.rowid \
                 CROSS JOIN conversations o ON o.number = s.conversation AND o.owner = :owner \
                 WHERE t.message_text MATCH :query ORDER BY t.rowid"
            }
        };
        format!(
            "SELECT m.conversation, max(m.number) FROM \
             ({newest} DESC LIMIT {SCANNED_MESSAGES}) m \
             CROSS JOIN message_text t ON t.rowid = m.number WHERE TRUE{} GROUP BY m.conversation",
            like(&format!("substr(t.text, 1, {SCANNED_CHARS})"))
        )
    };
    let titles = match &query.indexed {
        None => format!(
            "SELECT c.number, NULL FROM conversations c WHERE c.owner = :owner{}",
            like("c.title")
        ),
        // "+": the index has nothing for so short a word, and must not try.
        Some(_) => format!(
            "SELECT t.rowid, NULL FROM title_text t WHERE t.title_text MATCH :query{}",
            like("+t.text")
        ),
    };
    format!("WITH found(conversation, message) AS ({messages} UNION ALL {titles}) ")
}

/// Where in the order a conversation stands.
fn place(connection: &Connection, owner: &Owner, id: &str) -> Attempt<(i64, i64, i64)> {
    let sql = "SELECT pinned, updated_at, number FROM conversations WHERE id = ?1 AND owner = ?2";
    let place = connection
        .prepare_cached(sql)?
        .query_row((id, owner.as_str()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let what = "conversation";
    Ok(place.ok_or(HistoryError::NotFound { what })?)
}

/// The piece that shows what was found.
fn piece(
    connection: &Connection,
    query: &Query,
    conversation: i64,
    message: Option<i64>,
) -> Attempt<Snippet> {
    let (table, number) = match message {
        Some(message) => ("message_text", message),
        None => ("title_text", conversation),
    };
    let marked: Option<String> = match &query.indexed {
        Some(indexed) => {
            let [before, after] = MARKS.map(String::from);
            let sql = format!(
                "SELECT highlight({table}, 0, ?3, ?4) FROM {table} \
                 WHERE {table} MATCH ?1 AND rowid = ?2"
            );
            connection
                .prepare_cached(&sql)?
                .query_row((indexed, number, before, after), |row| row.get(0))
                .optional()?
        }
        None => connection
            .prepare_cached(&format!(
                "SELECT substr(text, 1, {SCANNED_CHARS}) FROM {table} WHERE rowid = ?1"
            ))?
            .query_row([number], |row| row.get(0))
            .optional()?,
    };
    let id = match message {
        None => None,
        Some(message) => connection
            .prepare_cached("SELECT id FROM messages WHERE number = ?1")?
            .query_row([message], |row| row.get(0))?,
    };
    Ok(snippet(&marked.unwrap_or_default(), &query.short, id))
}

fn folders(connection: &Connection, owner: &Owner) -> Attempt<Vec<String>> {
    let sql = "SELECT DISTINCT folder FROM conversations \
               WHERE owner = ?1 AND folder IS NOT NULL ORDER BY folder LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let folders = statement.query_map((owner.as_str(), FOLDERS as i64), |row| row.get(0))?;
    Ok(folders.collect::<rusqlite::Result<_>>()?)
}
