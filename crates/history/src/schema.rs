//! The tables, and how those of older versions become those of today.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Attempt, HistoryError};
use crate::search::{self, index_all};

/// "mato", in the file's header: what tells it from other programs' databases.
pub(crate) const APPLICATION: i64 = 0x6d61_746f;

/// One step from a schema to the next.
struct Step {
    sql: &'static str,
    /// What SQL cannot do, after it.
    fill: Option<fn(&Connection) -> Attempt<()>>,
}

/// From nothing to the schema of today. What was released never changes: new steps follow.
const STEPS: [Step; 4] = [
    Step {
        sql: CONVERSATIONS,
        fill: None,
    },
    Step {
        sql: search::TABLES,
        fill: Some(index_all),
    },
    Step {
        sql: SERVER,
        fill: None,
    },
    Step {
        sql: MEASURED,
        fill: None,
    },
];

/// A message's number is greater than its parent's, so by number parents come first. There is no cascade
/// along `parent`: SQLite would recurse, and refuse long conversations. What an owner takes is counted
/// by triggers, so that no way of writing forgets it.
const CONVERSATIONS: &str = "
CREATE TABLE owners(
    owner TEXT PRIMARY KEY,
    conversations INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE conversations(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    folder TEXT,
    settings TEXT NOT NULL,
    draft TEXT NOT NULL,
    leaf INTEGER,
    message_count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX conversations_by_time ON conversations(owner, pinned DESC, updated_at DESC, number DESC);
CREATE INDEX conversations_by_folder ON conversations(owner, folder);
CREATE TABLE messages(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation INTEGER NOT NULL REFERENCES conversations(number) ON DELETE CASCADE,
    parent INTEGER REFERENCES messages(number) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    reasoning TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    model TEXT,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    finish_reason TEXT,
    usage TEXT,
    timings TEXT,
    settings TEXT,
    has_logprobs INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL
);
CREATE INDEX messages_by_conversation ON messages(conversation, number);
CREATE INDEX messages_by_parent ON messages(parent);
CREATE INDEX messages_running ON messages(number) WHERE state = 'running';
CREATE TABLE details(
    message INTEGER PRIMARY KEY REFERENCES messages(number) ON DELETE CASCADE,
    logprobs TEXT,
    request TEXT
);
CREATE TRIGGER conversation_added AFTER INSERT ON conversations BEGIN
    INSERT INTO owners(owner, conversations, bytes) VALUES(NEW.owner, 1, NEW.bytes)
        ON CONFLICT(owner) DO UPDATE
        SET conversations = conversations + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER conversation_changed AFTER UPDATE OF bytes ON conversations BEGIN
    UPDATE owners SET bytes = bytes + NEW.bytes - OLD.bytes WHERE owner = NEW.owner;
END;
CREATE TRIGGER conversation_deleted AFTER DELETE ON conversations BEGIN
    UPDATE owners SET conversations = conversations - 1, bytes = bytes - OLD.bytes
        WHERE owner = OLD.owner;
    DELETE FROM owners WHERE owner = OLD.owner AND conversations = 0;
END;
CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
    UPDATE conversations SET message_count = message_count + 1, bytes = bytes + NEW.bytes
        WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_changed AFTER UPDATE OF bytes ON messages BEGIN
    UPDATE conversations SET bytes = bytes + NEW.bytes - OLD.bytes WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
    UPDATE conversations SET message_count = message_count - 1, bytes = bytes - OLD.bytes
        WHERE number = OLD.conversation;
END;
";

const SERVER: &str = "
CREATE TABLE responses(
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    response TEXT NOT NULL,
    input TEXT NOT NULL,
    messages TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE(owner, id)
);
CREATE INDEX responses_by_size ON responses(owner, bytes);
CREATE TABLE sign_ins(
    number INTEGER PRIMARY KEY,
    token_hash BLOB NOT NULL UNIQUE,
    key_digest BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX sign_ins_by_time ON sign_ins(created_at);
";

/// Bytes of a message's texts, in SQL. It has them without reading them.
macro_rules! text_bytes {
    ($message:literal) => {
        text_bytes!($message, "content", "reasoning", "tool_calls", "tool_call_id", "model",
            "error", "finish_reason", "usage", "timings", "settings")
    };
    ($message:literal, $($column:literal),*) => {
        concat!("(0", $(" + ifnull(octet_length(", $message, ".", $column, "), 0)"),*, ")")
    };
}

/// Bytes of the texts of the message `m`: what is loaded with it.
pub(crate) const TEXT_BYTES: &str = text_bytes!("m");

/// Conversations know what they take in memory; sign-ins are counted by key.
const MEASURED: &str = concat!(
    "
ALTER TABLE conversations ADD COLUMN text_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET text_bytes = (SELECT ifnull(sum(",
    text_bytes!("m"),
    "), 0) FROM messages m WHERE m.conversation = conversations.number);
CREATE TRIGGER message_measured AFTER INSERT ON messages BEGIN
    UPDATE conversations SET text_bytes = text_bytes + ",
    text_bytes!("NEW"),
    " WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_measured_again AFTER UPDATE OF content, reasoning, tool_calls, tool_call_id,
    model, error, finish_reason, usage, timings, settings ON messages BEGIN
    UPDATE conversations SET text_bytes = text_bytes + ",
    text_bytes!("NEW"),
    " - ",
    text_bytes!("OLD"),
    " WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_measured_out AFTER DELETE ON messages BEGIN
    UPDATE conversations SET text_bytes = text_bytes - ",
    text_bytes!("OLD"),
    " WHERE number = OLD.conversation;
END;
CREATE INDEX sign_ins_by_key ON sign_ins(key_digest);
"
);

/// The schema that this version makes and reads.
pub(crate) fn newest() -> i64 {
    STEPS.len() as i64
}

/// Whether the file is empty, or one of ours that this version knows.
pub(crate) fn recognise(connection: &Connection, path: &Path) -> Attempt<()> {
    // From one state of the file, which another process may be making.
    let transaction = connection.unchecked_transaction()?;
    let application = number(&transaction, "PRAGMA application_id")?;
    let found = number(&transaction, "PRAGMA user_version")?;
    let tables = number(&transaction, "SELECT count(*) FROM sqlite_schema")?;
    transaction.commit()?;
    let is_empty = application == 0 && found == 0 && tables == 0;
    if application != APPLICATION && !is_empty {
        return Err(HistoryError::Foreign {
            path: path.to_owned(),
            message: "it is another program's database".to_owned(),
        }
        .into());
    }
    refuse_newer(found, path)
}

fn refuse_newer(found: i64, path: &Path) -> Attempt<()> {
    let known = newest();
    if (0..=known).contains(&found) {
        return Ok(());
    }
    Err(HistoryError::NewerSchema {
        path: path.to_owned(),
        found,
        known,
    }
    .into())
}

/// Takes the steps that are missing, each whole or not at all.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Attempt<()> {
    loop {
        // Another process may have taken the step while this one waited for it.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = number(&transaction, "PRAGMA user_version")?;
        refuse_newer(found, path)?;
        let Some(step) = STEPS.get(usize::try_from(found).unwrap_or(usize::MAX)) else {
            return Ok(());
        };
        transaction.execute_batch(step.sql)?;
        if let Some(fill) = step.fill {
            fill(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", found + 1)?;
        transaction.commit()?;
        tracing::debug!(schema = found + 1, "the history's tables are up to date");
    }
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
